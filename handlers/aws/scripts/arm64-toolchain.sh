#!/usr/bin/env bash
# Creates a compiler for arm64 Linux in DIRECTORY from packages: zig (PyPI) links; if the installed Rust has no standard
# library for arm64, Debian's rustc-web compiles with the arm64 library. Changes nothing outside DIRECTORY.
#
#   arm64-toolchain.sh DIRECTORY    creates DIRECTORY/bin/rustc and DIRECTORY/bin/cc
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
scripts=$(cd "$(dirname "$0")" && pwd)
directory=$(mkdir -p "$1" && cd "$1" && pwd)
triple=aarch64-unknown-linux-gnu
# Amazon Linux 2023 has glibc 2.34; zig links against exactly this version.
glibc=2.34

fail() { echo "arm64-toolchain: $*" >&2; exit 69; }

debian_rust() {
  local state=$directory/apt root=$directory/root library llvm
  command -v apt-get >/dev/null || fail "the installed Rust has no $triple; run 'rustup target add $triple'"
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs" "$root"
  # Both architectures, in a separate package state; the system's stays unchanged.
  local options=(-qq -o "Dir::State=$state" -o "Dir::Cache=$state/cache" -o Dir::State::status=/var/lib/dpkg/status
    -o APT::Architecture=amd64 -o 'APT::Architectures::=amd64' -o 'APT::Architectures::=arm64' -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  dependency() { apt-cache "${options[@]}" depends "$1" | awk -v name="$2" '$1 == "Depends:" && $2 ~ name {print $2; exit}'; }
  library=$(dependency libstd-rust-web-dev '^libstd-rust-web-[0-9.]+$')
  llvm=$(dependency "$library" '^libllvm')
  (cd "$state/debs" && apt-get "${options[@]}" download rustc-web "$library" "$llvm" libstd-rust-web-dev libstd-rust-web-dev:arm64)
  for package in "$state"/debs/*.deb; do dpkg -x "$package" "$root"; done
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/rustc" > "$1"
}

[ -f "$directory/complete" ] && exit 0
mkdir -p "$directory/bin"
if [ -d "$(rustc --print target-libdir --target $triple)" ]; then
  printf '#!/bin/sh\nexec rustc "$@"\n' > "$directory/bin/rustc"
else
  debian_rust "$directory/bin/rustc"
fi
python3 -m venv "$directory/venv"
"$directory/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$scripts/requirements.txt"
# Build scripts assume clang: they pass the target again, and a processor by a name that zig does not know.
cat > "$directory/bin/cc" <<WRAPPER
#!/usr/bin/env bash
arguments=()
for argument; do
  case \$argument in
    --target=*) ;;
    -march=armv8.4-a+sha3) arguments+=(-mcpu=generic+v8_4a+sha3) ;;
    *) arguments+=("\$argument") ;;
  esac
done
exec "$directory/venv/bin/python" -m ziglang cc -target aarch64-linux-gnu.$glibc "\${arguments[@]}"
WRAPPER
chmod +x "$directory/bin/rustc" "$directory/bin/cc"
touch "$directory/complete"
