#!/usr/bin/env bash
# Who may import whom (docs/ARCHITECTURE.md, "Who may import whom"). A dependency that crosses a line fails the build.
set -euo pipefail

fail=0

# forbid PACKAGE REGEX WHY: no normal dependency of PACKAGE, direct or not, may match REGEX.
forbid() {
  local package=$1 pattern=$2 why=$3 found
  found=$(cargo tree --locked -q -p "$package" -e normal --prefix none --no-dedupe -f '{p}' \
    | awk '{print $1}' | sort -u | grep -Ex "$pattern" | grep -vx "$package" || true)
  if [ -n "$found" ]; then
    echo "boundaries: $package must not depend on: $(echo "$found" | tr '\n' ' ')($why)" >&2
    fail=1
  fi
}

# Not `errors`, a leaf without dependencies that every package may import.
ours='gateway|handlers|handlers-aws|jwks|system-clock|migrate|shim|runtime-api|websocket|probes|tests'
clouds='aws-config|aws-sdk-.*'
edges='redis|bb8.*|warp|hyper.*|tungstenite|tokio-tungstenite|redb|sqlx.*'

forbid gateway "$ours" "gateway imports nothing of ours"
forbid handlers "$ours" "handlers import nothing of ours"
forbid gateway "$clouds|$edges|tokio" "gateway is values and pure functions"
forbid handlers "$clouds|$edges|tokio" "the application is pure"
forbid system-clock "gateway|handlers-aws|jwks|shim|runtime-api|websocket|migrate|probes|tests|$clouds|tokio|redis|warp" "both edges use it"
forbid jwks "gateway|handlers-aws|shim|runtime-api|websocket|migrate|probes|tests|$clouds|redis|bb8.*|warp|redb|sqlx.*" "both edges use it"
forbid shim "$clouds|handlers-aws|migrate|probes|tests" "the two edges never meet"
forbid runtime-api "handlers|handlers-aws|jwks|shim|migrate|probes|tests|$clouds" "the Runtime API serves any function"
forbid websocket "handlers|handlers-aws|jwks|shim|runtime-api|migrate|probes|tests|$clouds" "the codec knows bytes, and of ours what was agreed"
forbid handlers-aws "gateway|shim|runtime-api|websocket|migrate|probes|tests|redis|bb8.*|warp|redb|sqlx.*" "the two edges never meet"
forbid probes "$ours|redis|bb8.*|warp|tungstenite|tokio-tungstenite|redb|sqlx.*" "the deployed probe is no part of what it probes"
forbid migrate "tests|probes" "a program needs no harness"
for package in gateway handlers handlers-aws jwks system-clock migrate runtime-api websocket shim probes; do
  forbid "$package" 'ring|openssl|openssl-sys|native-tls' "one crypto backend, aws-lc"
done

[ "$fail" -eq 0 ] && echo "boundaries: every package imports only what it may"
exit "$fail"
