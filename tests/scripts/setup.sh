#!/usr/bin/env bash
# Finds what the build and the tests need, installs from Debian's packages what is missing, and says what it does.
# Needs Rust 1.95 (rust-toolchain is not pinned to a download: any 1.95 or later does) and a C compiler for aws-lc and
# jemalloc. `make run` needs nothing else; `make test` starts real Redis and
# PostgreSQL servers, and installs MiniStack (PyPI) and SDKs into
# the build directory by itself.
set -euo pipefail

need() { # command, Debian package, what for
  command -v "$1" >/dev/null 2>&1 && return 0
  echo "setup: '$1' is missing ($3); installing Debian's $2"
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: cannot install it by myself: please install '$2' (or what provides '$1') and try again" >&2
    exit 69
  fi
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2"
}

if ! command -v cargo >/dev/null 2>&1; then
  echo "setup: Rust is missing; please install it (https://rustup.rs), version 1.95 or later, and try again" >&2
  exit 69
fi
need cc gcc "compiles aws-lc and jemalloc"
need make make "builds jemalloc"
need taskset util-linux "pins benchmark processes"
need python3 python3-venv "runs the DynamoDB emulator and the SDKs of the tests"
need openssl openssl "makes certificates for tests"
# Sentinels are the same program; the tests start all servers themselves, on free ports.
need redis-server redis-server "the tests of the Redis adapters run on real servers"
need redis-cli redis-tools "those tests ask their servers through it"
# A balancer in front of several pods; the tests start it themselves, on a free port.
need haproxy haproxy "the scenarios run on three pods behind it"
# Debian has the server's programs outside of PATH, one directory for each version.
if ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
  need initdb postgresql "the tests of the PostgreSQL log run on real servers"
fi
