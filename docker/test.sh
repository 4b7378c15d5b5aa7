#!/usr/bin/env bash
# Tests images alone: health, SIGTERM, user, read-only root, no shell, size: test.sh [IMAGE ...]
#
# IMAGE: by default those of this commit (`make images`) that are there. Names end in twinway, twinway-migrate or twinway-frontend.
# ENGINE=podman|docker; podman must be able to run containers (as root where user namespaces are not available).
set -euo pipefail
cd "$(dirname "$0")/.."
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
engine=${ENGINE:-$(command -v podman >/dev/null && echo podman || echo docker)}
command -v "$engine" >/dev/null || { echo "images: install podman or Docker, or set ENGINE" >&2; exit 69; }

containers=()
trap '"$engine" rm -f -v "${containers[@]:-none}" >/dev/null 2>&1 || true' EXIT
fail() { echo "images: $1" >&2; exit 1; }
wait_for() { # TEXT COMMAND...: until the command succeeds, at most 10 s
  local what=$1 attempt
  shift
  for attempt in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
  fail "waited 10 s for $what ($attempt attempts)"
}
inspect() { "$engine" inspect --format "$2" "$1"; }

start() { # IMAGE [OPTION ...]: starts a container as restricted as in Kubernetes; sets $id and $pid
  local image=$1
  shift
  id=$("$engine" run -d --read-only --cap-drop ALL --security-opt no-new-privileges "$@" "$image" 2>/dev/null)
  containers+=("$id")
  pid=$(inspect "$id" '{{.State.Pid}}')
}
check_process() { # the process as the kernel sees it
  [ "$(awk '/^Uid:/ { print $2 }' "/proc/$pid/status")" = 65532 ] || fail "$1 does not run as 65532"
  awk '$5 == "/" { split($6, options, ","); found = options[1] } END { exit found != "ro" }' "/proc/$pid/mountinfo" || fail "$1 has a writable root"
  [ "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" = 0000000000000000 ] || fail "$1 has capabilities"
}
check_stop() { # IMAGE: ends by its signal, with code 0
  local started=$SECONDS
  "$engine" stop --time 15 "$id" >/dev/null
  [ "$(inspect "$id" '{{.State.ExitCode}}')" = 0 ] || fail "$1 ended with $(inspect "$id" '{{.State.ExitCode}}') after its stop signal"
  [ $((SECONDS - started)) -lt 15 ] || fail "$1 had to be killed"
}
check_image() { # IMAGE: user, version and size
  [ "$(inspect "$1" '{{.Config.User}}')" = 65532:65532 ] || fail "$1 has the user '$(inspect "$1" '{{.Config.User}}')'"
  [ -n "$(inspect "$1" '{{index .Config.Labels "org.opencontainers.image.revision"}}')" ] || fail "$1 has no revision"
  local size=$(($("$engine" save "$1" | gzip -c | wc -c) / 1000000))
  [ "$size" -lt 30 ] || fail "$1 has $size MB compressed, more than 30"
  if "$engine" run --rm --entrypoint /bin/sh "$1" -c true 2>/dev/null; then fail "$1 contains a shell"; fi
  echo "$size MB compressed"
}

test_server() {
  # Embedded mode, whose data are in a volume.
  start "$1" --volume /data
  wait_for "health" "$engine" exec "$id" /twinway healthcheck
  "$engine" exec "$id" /twinway healthcheck --ready >/dev/null || fail "$1 is not ready"
  check_process "$1"
  check_stop "$1"
  # Wrong configuration ends with 64 and a sentence.
  local code=0
  "$engine" run --rm --read-only -e TWINWAY_PROFILE=opne "$1" 2>/dev/null || code=$?
  [ "$code" = 64 ] || fail "$1 ends with $code for a wrong setting"
}
test_migrate() {
  "$engine" run --rm --read-only --cap-drop ALL "$1" --help >/dev/null || fail "$1 --help fails"
  local code=0
  "$engine" run --rm --read-only --cap-drop ALL "$1" --from nowhere --to nowhere 2>/dev/null || code=$?
  [ "$code" = 64 ] || fail "$1 ends with $code for a wrong address"
}
test_frontend() {
  start "$1" --tmpfs /tmp
  wait_for "nginx" "$engine" exec "$id" nginx -t -q
  check_process "$1"
  check_stop "$1"
}

version=$(sed -n '/workspace.package/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)-$(git rev-parse --short=12 HEAD)
git diff --quiet HEAD -- || version=$version-modified
[ $# -gt 0 ] || for name in twinway twinway-migrate twinway-frontend; do
  if "$engine" image inspect "$name:$version" >/dev/null 2>&1; then set -- "$@" "$name:$version"; fi
done
[ $# -gt 0 ] || fail "there is no image of $version: run make images"
for image in "$@"; do
  size=$(check_image "$image")
  name=${image%:*}
  case ${name##*/} in twinway-migrate) test_migrate "$image" ;; twinway-frontend) test_frontend "$image" ;; *) test_server "$image" ;; esac
  echo "images: $image passed, $size"
done
