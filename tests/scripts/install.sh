#!/usr/bin/env bash
# Installs `twinway` into PREFIX/bin (default: cargo's directory, ~/.cargo/bin) and prints its path: install.sh
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,2s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
prefix=${PREFIX:-${CARGO_INSTALL_ROOT:-${CARGO_HOME:-$HOME/.cargo}}}

# The warning below replaces cargo's warning about PATH.
"${CARGO:-cargo}" install --locked --path shim --bin twinway --root "$prefix" 2> >(grep -v '^warning: be sure to add' >&2)
echo "install: $("$prefix/bin/twinway" --version) is $prefix/bin/twinway"
found=$(command -v twinway || true)
if [ -z "$found" ]; then
  echo "install: warning: $prefix/bin is not on PATH: run  export PATH=\"$prefix/bin:\$PATH\"  and add that line to the profile of your shell" >&2
elif ! [ "$found" -ef "$prefix/bin/twinway" ]; then
  echo "install: warning: 'twinway' still runs $found, because its directory precedes it on PATH" >&2
fi
