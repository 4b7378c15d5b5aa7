#!/usr/bin/env bash
# Copies an example to a directory and installs it, with the commands of its README: example.sh NAME DIRECTORY
# Does nothing if this version is installed; concurrent calls wait for one installation. Exits with 69 if a language is missing.
set -euo pipefail
name=$1
directory=$2
root=$(cd "$(dirname "$0")/../.." && pwd)

need() {
  command -v "$1" >/dev/null || { echo "$1 is not installed" >&2; exit 69; }
}

# The sources as a tar archive, without the products of a developer's own runs.
sources() {
  tar -C "$root/examples/$name" --exclude=./node_modules --exclude=./cdk.out --exclude=./venv --exclude=./build \
    --sort=name --mtime=@0 --owner=0 --group=0 -cf - .
}

# The versions of all tools are part of the mark: a new interpreter needs another installation.
version_of_sources() {
  sources | sha256sum
  node --version 2>/dev/null || true
  python3 --version 2>/dev/null || true
  go version 2>/dev/null || true
}

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
exec 9>"$directory/lock"
flock 9
mark=$(version_of_sources)
[ "$mark" = "$(cat "$directory/installed" 2>/dev/null)" ] && exit 0
rm -rf "${directory:?}/$name"
mkdir "$directory/$name"
sources | tar -C "$directory/$name" -xf -
cd "$directory/$name"
if [ -f package-lock.json ]; then
  need npm
  npm ci --ignore-scripts --no-audit --no-fund --silent
fi
if [ -f cdk.json ]; then
  npm run --silent check
  npm run --silent synth
fi
if [ -f requirements.txt ]; then
  need python3
  "$root/tests/scripts/venv.sh" "$PWD/venv" "$PWD/requirements.txt"
fi
if [ -f go.mod ]; then
  need go
  CGO_ENABLED=0 go build -trimpath -tags lambda.norpc -o build/bootstrap .
fi
echo "$mark" >"$directory/installed"
