#!/usr/bin/env bash
# Says when the disk is too small for a build that grows to so many GiB: room.sh GIB
# A full disk shows itself in the middle of a build as `ld terminated with signal 7 [Bus error]`, and names nothing.
set -euo pipefail

needed=$(($1 * 1024 * 1024))
mkdir -p target
free=$(df -Pk target | awk 'NR == 2 { print $4 }')
built=$(du -sk target | cut -f1)
if [ $((free + built)) -lt "$needed" ]; then
  printf "room: target grows to about %s GiB, has %s now, and %s are free on its disk: free some, or the linker will end with 'Bus error'\n" \
    "$1" "$((built / 1024 / 1024))" "$((free / 1024 / 1024))" >&2
fi
