#!/usr/bin/env bash
# Installs the Socket.IO server that `make bench-pods` measures ours against, at locked versions, into the directory named.
# Does nothing when it is there.
set -euo pipefail
directory=$1
source=$(dirname "$0")/../bench/socketio
mark=$directory/installed

for program in node npm; do
  command -v "$program" >/dev/null 2>&1 || {
    echo "bench-pods: '$program' is missing: the peer is Socket.IO; please install Node 20 or later with npm and try again" >&2
    exit 69
  }
done
mkdir -p "$directory"
cp "$source"/package.json "$source"/package-lock.json "$source"/server.mjs "$directory"
cmp -s "$source/package-lock.json" "$mark" && exit 0
# Without install scripts: the native add-on of ws comes with prebuilt binaries, which are found when it is loaded.
(cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund --silent)
(cd "$directory" && node --input-type=commonjs --eval 'require("bufferutil")')
cp "$source/package-lock.json" "$mark"
