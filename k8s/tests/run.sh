#!/usr/bin/env bash
# Tests the chart on a real cluster: run.sh [--keep] [smoke | all | SCENARIO ...]      (--list prints the scenarios)
#
# Uses the cluster of KUBECONFIG, if set (with CONTEXT, unless it is a local one). Otherwise starts k8s/cluster with the nodes and
# components that the scenarios need, and stops it at the end; this needs root, Debian's packages and Go. The programs of the cluster
# are built once, into $CLUSTER_DIR/bin (default /var/tmp/twinway-cluster).
#
# PROGRAM=path          a built server for the image, in place of a release build; libraries that it needs are added
# CLIENT_PROGRAM=path   built clients (cluster_clients of the package tests)
set -euo pipefail
cd "$(dirname "$0")/../.."
for argument in "$@"; do
  case $argument in
    --help | -h) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --list) exec python3 -B k8s/tests/scenarios.py --list ;;
  esac
done

export CLUSTER_DIR=${CLUSTER_DIR:-/var/tmp/twinway-cluster}
export PATH=$CLUSTER_DIR/bin:$PATH
read -r nodes addons < <(python3 -B k8s/tests/scenarios.py --requirements "$@")
if [ -z "${KUBECONFIG:-}" ]; then
  if [ -e "$CLUSTER_DIR/run/init.pid" ]; then
    echo "test-cluster: a cluster runs in $CLUSTER_DIR: use it with KUBECONFIG=$CLUSTER_DIR/admin.conf, or stop it with make k8s-down ARGS=cluster" >&2
    exit 64
  fi
  trap 'k8s/cluster/down.sh' EXIT
  NODES=${NODES:-$nodes} ADDONS=${ADDONS-$addons} CLUSTER=own python3 -B k8s/scripts/k8s.py up
  export KUBECONFIG=$CLUSTER_DIR/admin.conf
fi
# Clients run outside of the cluster's images, from the same build as the other tests.
[ -n "${CLIENT_PROGRAM:-}" ] || ${CARGO:-cargo} build --locked -p tests --bin cluster_clients
python3 -B k8s/tests/scenarios.py "$@"
