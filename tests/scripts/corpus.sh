#!/usr/bin/env bash
# Unpacks and packs fuzz corpora: tests/fuzz/corpus/TARGET.tar.gz <-> target/fuzz/corpus/TARGET, one file per input.
# The same inputs always produce the same archive.
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
  echo "usage: corpus.sh unpack|pack|count TARGET..."
  echo "  unpack  add the inputs of the archive to target/fuzz/corpus/TARGET"
  echo "  pack    replace the archive with the inputs of target/fuzz/corpus/TARGET"
  echo "  count   number of inputs in the archive"
}

archive() { echo "tests/fuzz/corpus/$1.tar.gz"; }
directory() { echo "target/fuzz/corpus/$1"; }

unpack() {
  mkdir -p "$(directory "$1")"
  if [ -f "$(archive "$1")" ]; then
    tar -xzf "$(archive "$1")" -C "$(directory "$1")"
  else
    echo "corpus: $1 has no archive yet" >&2
  fi
}

pack() {
  local inputs metadata=(--format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=0644)
  inputs=$(find "$(directory "$1")" -type f -printf '%P\n' | LC_ALL=C sort)
  [ -n "$inputs" ] || { echo "corpus: no inputs in $(directory "$1")" >&2; exit 66; }
  tar -C "$(directory "$1")" "${metadata[@]}" --verbatim-files-from -T <(echo "$inputs") -cf - \
    | gzip -9n >"$(archive "$1").new"
  mv "$(archive "$1").new" "$(archive "$1")"
  echo "corpus: $(count "$1") inputs in $(archive "$1")"
}

count() { if [ -f "$(archive "$1")" ]; then tar -tzf "$(archive "$1")" | wc -l; else echo 0; fi; }

case "${1:-}" in
  unpack | pack | count) ;;
  --help) usage; exit ;;
  *) usage >&2; exit 64 ;;
esac
command=$1
shift
for target in "$@"; do "$command" "$target"; done
