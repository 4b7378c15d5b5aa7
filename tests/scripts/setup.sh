#!/usr/bin/env bash
# Checks the programs that a target needs: setup.sh [run|unit|python|lambda|bench|pods|faults|cdk|test]      (default: test)
#
# `run` requires cargo and a C compiler; every other set but `cdk` includes it. As root on Debian and Ubuntu, installs missing
# packages; otherwise prints the complete list and exits with code 69. Compatible with bash 3.2 of macOS.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."

missing=""   # one line each: package, tab, program, tab, purpose
packages=""
failed=0

fail() { echo "setup: $*" >&2; failed=1; }
need() { command -v "$1" >/dev/null 2>&1 || miss "$@"; } # program, Debian package, purpose

miss() {
  missing="$missing$(printf '%s\t%s\t%s' "$2" "$1" "$3")"$'\n'
  case " $packages " in *" $2 "*) ;; *) packages="${packages:+$packages }$2" ;; esac
}

for_run() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  if command -v cargo >/dev/null 2>&1; then
    found=$(rustc --version | awk '{ print $2 }')
    [ "$(printf '%s\n%s\n' "$wanted" "${found%%-*}" | sort -t. -k1,1n -k2,2n -k3,3n | head -1)" = "$wanted" ] ||
      fail "rustc $found is too old: install Rust $wanted or later with 'rustup update stable', or from https://rustup.rs"
  else
    fail "cargo is missing: install Rust $wanted or later from https://rustup.rs (curl -sSf https://sh.rustup.rs | sh), then open a new terminal"
  fi
  cc --version >/dev/null 2>&1 ||
    fail "a C compiler (cc) is missing, it compiles aws-lc and jemalloc: on Debian and Ubuntu 'apt-get install gcc libc6-dev', on Fedora 'dnf install gcc', on Alpine 'apk add gcc musl-dev', on macOS 'xcode-select --install'"
}

only_linux() {
  [ "$(uname -s)" = Linux ] || fail "this target runs on Linux only; 'make run' and 'make install' also run on macOS (CONTRIBUTING.md, section 'Set-up')"
}

for_venv() {
  # Debian's python3 has no `venv` until python3-venv is installed.
  python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || miss "python3 -m venv" python3-venv "environments for Python packages"
}

# The DynamoDB emulator, the SDKs and the Python functions of the tests.
for_python() {
  for_venv
  need flock util-linux "lets one process at a time install Python packages"
}

for_redis() {
  need redis-server redis-server "real Redis servers and Sentinels, started by the tests on free ports"
  need redis-cli redis-tools "commands to those servers"
}

for_lambda() {
  for_venv # zig, the linker for arm64, is a Python package
  need objdump binutils "checks which glibc a function needs"
}

for_node() {
  local version
  version=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
  [ "${version:-0}" -ge 20 ] || miss "node >= 20" nodejs "runs CDK and Socket.IO"
  need npm npm "installs their packages"
}

for_unit() { for_redis; }
for_bench() { need taskset util-linux "pins benchmark processes to cores"; }
for_faults() { for_redis; need haproxy haproxy "balances connections over the pods"; }
for_pods() { for_bench; for_redis; for_node; }
for_cdk() { for_node; for_venv; }

# Node is optional: without it, tests of JavaScript SDKs are skipped.
for_test() {
  for_python
  for_faults
  need openssl openssl "makes the certificates of the TLS tests"
  need nginx nginx-light "a reverse proxy in front of the server"
  need prlimit util-linux "fills a server's disk, in tests"
  # Debian installs PostgreSQL's server programs outside PATH, in one directory per version.
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || need initdb postgresql "real PostgreSQL servers, started by the tests"
}

install_or_list() {
  echo "setup: missing for this target:" >&2
  printf '%s' "$missing" | awk -F '\t' '{ printf "  %-16s %-16s %s\n", $1, "(" $2 ")", $3 }' >&2
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    fail "install them, on Debian and Ubuntu with:  sudo apt-get install --no-install-recommends $packages"
    return
  fi
  echo "setup: running apt-get install --no-install-recommends $packages" >&2
  # shellcheck disable=SC2086 # one word for each package
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
}

set -- "${1:-test}"
case $1 in
  run) for_run ;;
  cdk) for_cdk ;;
  unit | lambda) for_run; "for_$1" ;;
  python | bench | pods | faults | test) only_linux; for_run; "for_$1" ;;
  *) fail "unknown set '$1'; $(sed -n '2s/^# //p' "$0")"; exit 64 ;;
esac
[ -z "$missing" ] || install_or_list
exit $((failed * 69))
