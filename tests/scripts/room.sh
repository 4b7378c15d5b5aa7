#!/usr/bin/env bash
# Warns if the disk is too small for a build that needs this many GiB: room.sh GIB
# A full disk ends a build with `ld terminated with signal 7 [Bus error]`, which does not name the cause.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

needed=$(($1 * 1024 * 1024))
mkdir -p target
free=$(df -Pk target | awk 'NR == 2 { print $4 }')
built=$(du -sk target | cut -f1)
if [ $((free + built)) -lt "$needed" ]; then
  printf "room: target needs about %s GiB, has %s now, and %s GiB are free on its disk: free disk space, or the linker fails with 'Bus error'\n" \
    "$1" "$((built / 1024 / 1024))" "$((free / 1024 / 1024))" >&2
fi
