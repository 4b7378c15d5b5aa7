#!/usr/bin/env bash
# Builds the five functions as zip files for `provided.al2023`: dist/lambda/{function}-{x86_64,arm64}.zip, each with one file,
# `bootstrap`. Builds are reproducible: the same sources produce the same bytes.
#
#   lambda.sh [probe] [x86_64] [arm64]      default: both architectures
#
# With `probe`, builds the conformance suite's probe instead: stage-probe-{x86_64,arm64}.zip.
# arm64-toolchain.sh creates the compiler for arm64 once, in the build directory.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../../.."

package=handlers-aws
functions=(authorizer connect disconnect message api)
if [ "${1:-}" = probe ]; then
  package=probes
  functions=(stage-probe)
  shift
fi
# Amazon Linux 2023 has glibc 2.34.
newest_glibc=2.34
out=dist/lambda
target_dir=${CARGO_TARGET_DIR:-target}

fail() { echo "lambda: $*" >&2; exit 70; }

# Keeps paths of the build machine out of the executables.
flags="--remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
bins=()
for function in "${functions[@]}"; do bins+=(--bin "$function"); done

build() { # architecture, target triple, target directory
  local architecture=$1 triple=$2 function binary
  cargo build --locked --profile lambda --target "$triple" -p "$package" "${bins[@]}"
  for function in "${functions[@]}"; do
    binary=$3/$triple/lambda/$function
    check_glibc "$binary"
    handlers/aws/scripts/pack.py "$binary" "$out/$function-$architecture.zip"
  done
}

check_glibc() { # binary: fails on a symbol of a glibc newer than Lambda's
  local needed
  needed=$(objdump -p "$1" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -1)
  [ "$(printf '%s\n' "$needed" "$newest_glibc" | sort -V | tail -1)" = "$newest_glibc" ] \
    || fail "$1 needs glibc $needed; provided.al2023 has $newest_glibc"
}

x86_64() {
  RUSTFLAGS="$flags" build x86_64 x86_64-unknown-linux-gnu "$target_dir"
}

arm64() {
  local tools=$PWD/$target_dir/arm64-toolchain
  handlers/aws/scripts/arm64-toolchain.sh "$tools"
  # A separate target directory: another compiler produces these artifacts.
  CARGO_TARGET_DIR=$target_dir/arm64 RUSTC=$tools/bin/rustc RUSTFLAGS="$flags" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$tools/bin/cc CC_aarch64_unknown_linux_gnu=$tools/bin/cc \
    AR_aarch64_unknown_linux_gnu=ar build arm64 aarch64-unknown-linux-gnu "$target_dir/arm64"
}

mkdir -p "$out"
[ $# -gt 0 ] || set -- x86_64 arm64
for architecture in "$@"; do
  case $architecture in
    x86_64 | arm64) "$architecture" ;;
    *) fail "unknown architecture: $architecture" ;;
  esac
done
