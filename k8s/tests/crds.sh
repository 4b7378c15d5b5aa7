#!/usr/bin/env bash
# Installs the kinds of controllers that the chart knows in the cluster of KUBECONFIG, from their Go modules: crds.sh [FILE ...]
#
# For dry runs and for Gateway API; without the controllers. FILE: further definitions, for example that of TargetGroupBinding
# (AWS Load Balancer Controller), which is not in a module.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
command -v go >/dev/null || { echo "crds: needs go, to download modules" >&2; exit 69; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
printf 'module crds\n\ngo 1.24\n' >go.mod

apply() { # FILE ...: server-side, because an annotation with the whole definition would be too large
  kubectl apply --server-side --force-conflicts -o name "${@/#/--filename=}"
}

while read -r module path; do
  echo "crds: $module"
  directory=$(GOFLAGS=-mod=mod GOWORK=off go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  # shellcheck disable=SC2086 # the path has a wildcard
  apply "$directory"/$path >"$scratch/applied"
  echo "crds: $(wc -l <"$scratch/applied") kinds"
done <<'MODULES'
sigs.k8s.io/gateway-api@v1.3.0 config/crd/experimental/gateway.*.yaml
github.com/external-secrets/external-secrets@v1.3.2 config/crds/bases/external-secrets.io_*.yaml
github.com/cert-manager/cert-manager@v1.21.2 deploy/crds/*.yaml
github.com/kedacore/keda/v2@v2.21.0 config/crd/bases/keda.sh_*.yaml
github.com/prometheus-operator/prometheus-operator@v0.85.0 example/prometheus-operator-crd/*monitors.yaml
k8s.io/autoscaler/vertical-pod-autoscaler@v1.5.1 deploy/vpa-v1-crd-gen.yaml
MODULES
[ $# -eq 0 ] || { cd "$OLDPWD"; apply "$@"; }
