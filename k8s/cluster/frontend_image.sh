#!/usr/bin/env bash
# Makes the image of the front ends with this machine's nginx, for every node: frontend_image.sh NAME:TAG
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ "${1:---help}" != --help ] || { sed -n '2s/^# //p' "$0"; exit 0; }
command -v nginx >/dev/null || { echo "frontend_image: apt-get install nginx-light" >&2; exit 69; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
install -D -m 0644 /etc/nginx/mime.types "$scratch/etc/nginx/mime.types"
install -D -m 0644 "$here/../../docker/frontend/nginx.conf" "$scratch/etc/nginx/nginx.conf"
mkdir -p "$scratch/usr/share/nginx" "$scratch/var/log/nginx"
cp -r "$here/../../docker/frontend/html" "$scratch/usr/share/nginx/"
ENTRYPOINT='["/nginx", "-g", "daemon off;"]' "$here/image.sh" "$1" "$(readlink -f "$(command -v nginx)")" "$scratch"
