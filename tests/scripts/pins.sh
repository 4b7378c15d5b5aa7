#!/usr/bin/env bash
# Regenerates every requirements.txt from the requirements.in in the same directory, with the hashes of all files of each package.
# Versions change only where requirements.in requires it (pins.sh --upgrade: to the newest). Requires uv (pip install uv).
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
command -v uv >/dev/null || { echo "pins: uv is missing; 'pip install uv'" >&2; exit 69; }
git ls-files '*requirements.in' | while read -r input; do
  # The oldest Python that every package of the file supports.
  python=3.10
  [[ $input == tests/* ]] && python=3.11
  uv pip compile --quiet --universal --python-version "$python" --generate-hashes --no-emit-index-url --no-annotate \
    --custom-compile-command tests/scripts/pins.sh "$@" "$input" --output-file "${input%.in}.txt"
done
