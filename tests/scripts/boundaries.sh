#!/usr/bin/env bash
# Checks the dependencies between packages (docs/ARCHITECTURE.md, "Import rules"). A forbidden dependency fails the build.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,2s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

fail=0
declare -A dependencies

# forbid PACKAGE REGEX REASON: fails if a direct or transitive normal dependency of PACKAGE matches REGEX.
forbid() {
  local package=$1 pattern=$2 reason=$3 found
  if [ -z "${dependencies[$package]:-}" ]; then
    dependencies[$package]=$(cargo tree --locked -q -p "$package" -e normal --prefix none -f '{p}' | awk '{print $1}' | sort -u)
  fi
  found=$(echo "${dependencies[$package]}" | grep -Ex "$pattern" | grep -vx "$package" || true)
  if [ -n "$found" ]; then
    echo "boundaries: $package must not depend on: $(echo "$found" | tr '\n' ' ')($reason)" >&2
    fail=1
  fi
}

# Without `errors`, a package without dependencies that every package may import.
workspace='gateway|handlers|handlers-aws|jwks|system-clock|tls-client|migrate|shim|runtime-api|templates|websocket|probes|tests'
aws='aws-config|aws-sdk-.*'
adapters='redis|bb8.*|warp|hyper.*|tungstenite|tokio-tungstenite|redb|sqlx.*'

forbid gateway "$workspace" "gateway imports no workspace package"
forbid handlers "$workspace" "handlers imports no workspace package"
forbid gateway "$aws|$adapters|tokio" "gateway contains values and pure functions only"
forbid handlers "$aws|$adapters|tokio" "the application performs no I/O"
forbid system-clock "gateway|handlers-aws|jwks|shim|runtime-api|templates|websocket|migrate|probes|tests|$aws|tokio|redis|warp" "the shim and the Lambda functions both use it"
forbid jwks "gateway|handlers-aws|shim|runtime-api|templates|websocket|migrate|probes|tests|$aws|redis|bb8.*|warp|redb|sqlx.*" "the shim and the Lambda functions both use it"
forbid tls-client "gateway|handlers|handlers-aws|jwks|system-clock|shim|runtime-api|templates|websocket|migrate|probes|tests|$aws|tokio|redis|warp" "the shim and the Lambda functions both use it"
forbid shim "$aws|handlers-aws|migrate|probes|tests" "the shim and the Lambda functions are independent"
forbid runtime-api "handlers|handlers-aws|jwks|shim|templates|migrate|probes|tests|$aws" "the Runtime API serves any function"
forbid templates "handlers|handlers-aws|jwks|shim|runtime-api|websocket|migrate|probes|tests|$aws|tokio" "templates are values and readers of files only"
forbid websocket "handlers|handlers-aws|jwks|shim|runtime-api|templates|migrate|probes|tests|$aws" "the codec imports only gateway, for the negotiated settings"
forbid handlers-aws "gateway|shim|runtime-api|templates|websocket|migrate|probes|tests|redis|bb8.*|warp|redb|sqlx.*" "the shim and the Lambda functions are independent"
forbid probes "$workspace|redis|bb8.*|warp|tungstenite|tokio-tungstenite|redb|sqlx.*" "the probe is independent of the gateway under test"
forbid migrate "tests|probes" "a program must not import the test harness"
for package in gateway handlers handlers-aws jwks system-clock tls-client migrate runtime-api templates websocket shim probes; do
  forbid "$package" 'ring|openssl|openssl-sys|native-tls' "one crypto backend, aws-lc"
done

[ "$fail" -eq 0 ] && echo "boundaries: all dependencies are permitted"
exit "$fail"
