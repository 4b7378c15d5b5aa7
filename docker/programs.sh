#!/usr/bin/env bash
# Builds the static programs of one image: programs.sh server|migrate|lambda DIRECTORY
#
# Also writes certificates of public authorities, where the system has them, for the programs that verify servers.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,4s/^# //p' "$0"; }
case ${1:-} in
  --help | -h) usage; exit 0 ;;
  server) package=shim bins=(twinway) ;;
  migrate) package=migrate bins=(twinway-migrate) ;;
  lambda) package=handlers-aws bins=(authorizer connect disconnect message api) ;;
  *) usage >&2; exit 64 ;;
esac
out=${2:?usage: programs.sh server|migrate|lambda DIRECTORY}
profile=${PROFILE:-release}
# With --target, the flags apply to the programs only, not to build scripts and macros, which cannot be static.
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_INCREMENTAL=0
export RUSTFLAGS=${RUSTFLAGS:--C target-feature=+crt-static --remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo}

arguments=()
for bin in "${bins[@]}"; do arguments+=(--bin "$bin"); done
${CARGO:-cargo} build --locked --profile "$profile" --target "$target" -p "$package" "${arguments[@]}"

mkdir -p "$out"
for bin in "${bins[@]}"; do
  install -m 0555 "${CARGO_TARGET_DIR:-target}/$target/$profile/$bin" "$out/$bin"
done
authorities=/etc/ssl/certs/ca-certificates.crt
if [ -r "$authorities" ]; then install -D -m 0444 "$authorities" "$out$authorities"; fi
