#!/usr/bin/env python3
"""Packs one executable as a Lambda function: pack.py EXECUTABLE ZIP.

The archive contains one file, `bootstrap`, with mode 0755 and the date 1980-01-01. It is built twice and compared, which
ensures reproducible bytes. Prints the sizes; fails if the archive is larger than the project's limit.

import io
import os
import sys
import zipfile

# The project's own limit; Lambda's is 50 MB zipped.
MAX_ZIP_BYTES = 6 * 1024 * 1024


def archive(executable: bytes) -> bytes:
    """The archive's bytes."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix: selects the meaning of the mode below
    entry.external_attr = (0o100755) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr(entry, executable, compresslevel=9)
    return packed.getvalue()


def main() -> None:
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        executable = file.read()
    packed = archive(executable)
    if packed != archive(executable):
        sys.exit(f"lambda: {target} is not reproducible")
    if len(packed) > MAX_ZIP_BYTES:
        sys.exit(f"lambda: {target} has {len(packed)} bytes, more than {MAX_ZIP_BYTES}")
    with open(target + ".part", "wb") as file:
        file.write(packed)
    os.replace(target + ".part", target)
    print(f"{target}: {len(packed) / 2**20:.2f} MiB, bootstrap {len(executable) / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
