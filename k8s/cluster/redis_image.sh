#!/usr/bin/env bash
# Makes an image of this machine's redis-server and redis-cli, for every node: redis_image.sh NAME:TAG
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ "${1:---help}" != --help ] || { sed -n '2s/^# //p' "$0"; exit 0; }
command -v redis-server redis-cli >/dev/null || { echo "redis_image: apt-get install redis-server redis-tools" >&2; exit 69; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# The program's name in the image is its file name, which is a link on Debian.
install -D -m 0755 "$(readlink -f "$(command -v redis-server)")" "$scratch/redis-server"
install -D -m 0755 "$(readlink -f "$(command -v redis-cli)")" "$scratch/root/redis-cli"
"$here/image.sh" "$1" "$scratch/redis-server" "$scratch/root"
