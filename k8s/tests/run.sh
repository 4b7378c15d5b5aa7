#!/usr/bin/env bash
# Tests the chart on a real cluster: run.sh [--keep] [TEST ...]      (k8s/tests/smoke.py lists the tests)
#
# Uses the cluster of KUBECONFIG, if set (with CONTEXT, unless it is a local one). Otherwise starts k8s/cluster with one node
# and without metrics-server, and stops it at the end; this needs root, Debian's packages and Go. The programs of the cluster
# are built once, into $CLUSTER_DIR/bin (default /var/tmp/twinway-cluster).
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in --help | -h) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

export CLUSTER_DIR=${CLUSTER_DIR:-/var/tmp/twinway-cluster}
export PATH=$CLUSTER_DIR/bin:$PATH
if [ -z "${KUBECONFIG:-}" ]; then
  trap 'k8s/cluster/down.sh' EXIT
  ADDONS="${ADDONS-coredns kube-router}" NODES="${NODES:-1}" CLUSTER=own python3 -B k8s/scripts/k8s.py up
  export KUBECONFIG=$CLUSTER_DIR/admin.conf
fi
# Clients run outside of the cluster's images, from the same build as the other tests.
[ -n "${CLIENT_PROGRAM:-}" ] || ${CARGO:-cargo} build --locked -p tests --bin cluster_clients
python3 -B k8s/tests/smoke.py "$@"
