#!/usr/bin/env bash
# Installs the Socket.IO server that `make bench-pods` compares with, at locked versions, into a directory: socketio.sh DIRECTORY
# Does nothing if it is installed.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
directory=$1
source=$(dirname "$0")/../bench/socketio
mark=$directory/installed

for program in node npm; do
  command -v "$program" >/dev/null 2>&1 || {
    echo "bench-pods: '$program' is missing: the baseline is Socket.IO; install Node 20 or later with npm and try again" >&2
    exit 69
  }
done
mkdir -p "$directory"
cp "$source"/package.json "$source"/package-lock.json "$source"/server.mjs "$directory"
cmp -s "$source/package-lock.json" "$mark" && exit 0
# Install scripts are not needed: the native add-on of ws contains prebuilt binaries that are located at load time.
(cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund --silent)
(cd "$directory" && node --input-type=commonjs --eval 'require("bufferutil")')
cp "$source/package-lock.json" "$mark"
