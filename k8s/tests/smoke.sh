#!/usr/bin/env bash
# Smoke test of the chart for CI: one node of k8s/cluster, without metrics-server, with the debug build of the other tests.
#
# Says why it is skipped where the cluster cannot run. The cluster's build takes 9 minutes on 2 idle cores, unless $CLUSTER_DIR/bin is kept.
# SMOKE=required   fail instead of skipping; SMOKE=off skip
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

missing() { # prints what the cluster lacks here
  [ "${SMOKE:-}" != off ] || { echo "SMOKE=off"; return; }
  [ "$(id -u)" = 0 ] || { echo "it needs root, to create network namespaces"; return; }
  command -v apt-get >/dev/null || { echo "it needs Debian's packages of containerd and etcd"; return; }
  command -v go >/dev/null || { echo "it needs go, to build Kubernetes"; return; }
  unshare -m -n -p -f --mount-proc true 2>/dev/null || { echo "this machine does not permit namespaces (unshare)"; return; }
  [ ! -e "${CLUSTER_DIR:-/var/tmp/twinway-cluster}/run/init.pid" ] || echo "a cluster runs already in ${CLUSTER_DIR:-/var/tmp/twinway-cluster}"
}

reason=$(missing)
if [ -n "$reason" ]; then
  echo "test-cluster-smoke: skipped: $reason"
  [ "${SMOKE:-}" != required ] || exit 69
  exit 0
fi
if [ -z "${PROGRAM:-}" ]; then
  ${CARGO:-cargo} build --locked -p shim --bin twinway
  export PROGRAM=$PWD/target/debug/twinway
fi
exec k8s/tests/run.sh smoke
