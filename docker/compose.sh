#!/usr/bin/env bash
# Runs docker/compose.yaml with the images of this commit: compose.sh up|down|logs|config [ARGUMENT ...]
#
# The first `up` generates the signing secret, in docker/compose/secret (not in Git).
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:---help} in --help | -h) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

if docker compose version >/dev/null 2>&1; then compose=(docker compose)
elif command -v docker-compose >/dev/null; then compose=(docker-compose)
elif command -v podman-compose >/dev/null; then compose=(podman-compose)
else echo "compose: install the compose plugin of Docker, or podman-compose" >&2; exit 69; fi

version=$(sed -n '/workspace.package/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
commit=$(git rev-parse --short=12 HEAD)
git diff --quiet HEAD -- || commit=$commit-modified
export TWINWAY_IMAGE=${TWINWAY_IMAGE:-twinway:$version-$commit}
export FRONTEND_IMAGE=${FRONTEND_IMAGE:-twinway-frontend:$version-$commit}
export AUTH_SECRET_FILE=$PWD/docker/compose/secret
if [ ! -s "$AUTH_SECRET_FILE" ]; then
  # Readable for the user of the container; the directory of the repository is private to its owner.
  head -c 48 /dev/urandom | base64 -w 0 >"$AUTH_SECRET_FILE"
  chmod 0644 "$AUTH_SECRET_FILE"
fi
command=$1
shift
if [ "$command" = up ]; then
  "${compose[@]}" -f docker/compose.yaml up --detach "$@"
  echo "compose: http://127.0.0.1:${PORT:-8080}/user/ and ws://127.0.0.1:${PORT:-8080}/prod"
  echo "compose: a token:  ${compose[*]} -f docker/compose.yaml exec server-1 /twinway token --user alice"
else
  "${compose[@]}" -f docker/compose.yaml "$command" "$@"
fi
