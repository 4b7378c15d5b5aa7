#!/usr/bin/env bash
# Checks chart, overlays, scripts and Dockerfiles: check.sh [--server]
#
# --server: also by a dry run on the cluster of KUBECONFIG, whose API server knows every field; it needs the kinds of Gateway
# API, cert-manager and others for the switches that use them (k8s/tests/crds.sh), and reports those that it lacks.
# Required: helm, kubectl, python3. Used where installed: kubernetes-validate, kube-score, checkov, hadolint, shellcheck.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in --help | -h) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
for program in helm kubectl python3; do
  command -v "$program" >/dev/null || { echo "check: $program is not installed" >&2; exit 69; }
done
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
have() { # program: whether it is installed
  if command -v "$1" >/dev/null; then echo "check: $1"; return 0; fi
  echo "check: $1 is not installed, skipped"
  return 1
}

python3 -B k8s/scripts/values.py --check
python3 -B k8s/scripts/overlays.py --check
# A dry run needs no cluster.
KUBECONFIG=$scratch/none python3 -B k8s/scripts/k8s.py --dry-run deploy >/dev/null

# Every variable that chart, images and documentation name is one of the server.
grep -rhoE '\bTWINWAY_[A-Z_]*[A-Z]\b' k8s/chart k8s/values docker/Dockerfile docker/functions.Dockerfile docs/KUBERNETES.md | sort -u | while read -r variable; do
  grep -q "\`$variable" docs/CONFIGURATION.md || { echo "check: $variable is not in docs/CONFIGURATION.md" >&2; exit 1; }
done

# Every switch of the chart, alone and with the others.
combinations=(
  "redis.bundled=true"
  "redis.url=redis://redis:6379"
  "redis.urlSecret.name=r,redis.topology=cluster,redis.passwordSecret.name=r,redis.caSecret.name=r"
  "redis.url=redis://a:26379\,redis://b:26379,redis.topology=sentinel"
  "redis.bundled=true,redis.bundle.ephemeral=true,networkPolicy.enabled=false"
  "redis.bundled=true,postgres.enabled=true,postgres.urlSecret.name=p,postgres.passwordSecret.name=p,postgres.caSecret.name=p"
  "functions.enabled=true,redis.bundled=true"
  "functions.enabled=true,redis.url=redis://redis:6379,functions.template=/application,functions.parameters.Stage=prod,functions.parameters.Limit=3,networkPolicy.serverEgress[0].ports[0].port=5432"
  "functions.enabled=true,redis.urlSecret.name=r,redis.passwordSecret.name=r,functions.image=functions:1,functions.template=/functions/app,functions.environmentSecret.name=e,functions.parametersSecret.name=p"
  "redis.bundled=true,autoscaling.kind=hpa,autoscaling.connectionsPerPod=500,verticalPodAutoscaler.enabled=true"
  "redis.bundled=true,autoscaling.kind=keda,autoscaling.connectionsPerPod=500"
  "redis.bundled=true,gateway.enabled=true,gateway.create=true,gateway.className=c,gateway.hostname=h.example,gateway.tlsSecretName=t,certificate.enabled=true,certificate.issuerName=i,frontend.enabled=true"
  "redis.bundled=true,ingress.enabled=true,ingress.className=c,ingress.hostname=h.example,ingress.tlsSecretName=t,frontend.enabled=true"
  "redis.bundled=true,metrics.serviceMonitor=true,metrics.podMonitor=true,backup.enabled=true,accessRoles.create=true,namespace.create=true"
  "redis.bundled=true,targetGroup.arn=arn:aws:elasticloadbalancing:r:1:targetgroup/t/1,networkPolicy.clientCidrs={10.0.0.0/24},networkPolicy.opsCidrs={10.0.0.0/24}"
  "redis.url=rediss://c:6379,redis.passwordSecret.name=r,externalSecrets.enabled=true,externalSecrets.storeName=s,externalSecrets.storeKind=ClusterSecretStore,externalSecrets.auth=a,externalSecrets.redisPassword=p,auth.previousSecretsKey=previous"
  "functions.enabled=true,redis.url=rediss://c:6379,redis.passwordSecret.name=r,externalSecrets.enabled=true,externalSecrets.region=r,externalSecrets.auth=a,externalSecrets.redisPassword=p"
  "redis.bundled=true,priorityClass.create=true,priorityClass.name=p,preStopSeconds=3,auth.previousSecretsKey=p,auth.apiKeysKey=k"
)
# A dry run of the test's pod fails, because its service account does not exist.
skipped=()
[ "${1:-}" != --server ] || skipped=(--skip-tests)
number=0
for values in "${combinations[@]}"; do
  number=$((number + 1))
  helm lint --quiet k8s/chart --set "$values" >/dev/null || { helm lint k8s/chart --set "$values"; exit 1; }
  helm template twinway k8s/chart --namespace twinway "${skipped[@]}" --set "$values" >"$scratch/values-$number.yaml"
done
# Production on EKS, with the outputs of the platform's stack.
python3 -B k8s/scripts/eks_values.py k8s/tests/fixtures/eks-outputs.json >"$scratch/eks.json"
helm template twinway k8s/chart --namespace twinway "${skipped[@]}" --values k8s/values/prod.yaml --values "$scratch/eks.json" >"$scratch/values-eks.yaml"
for environment in dev staging prod; do
  kubectl kustomize "k8s/overlays/$environment" >"$scratch/overlay-$environment.yaml"
done
if have kubernetes-validate; then
  for version in 1.30 1.34 1.37; do
    # Objects of controllers (Gateway API, cert-manager, KEDA) have no schema there.
    kubernetes-validate --quiet -k "$version" --strict "$scratch"/*.yaml 2>&1 | grep -v "Couldn't find schema" || true
    [ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
  done
fi
if [ "${1:-}" = --server ]; then
  for file in "$scratch"/*.yaml; do
    namespace=$(sed -n 's/^  namespace: //p' "$file" | head -1)
    kubectl create namespace "$namespace" >/dev/null 2>&1 || true
    kubectl apply --dry-run=server -f "$file" >"$scratch/output" 2>&1 || true
    # A kind that the cluster does not have is not an error of the manifest.
    if grep -v "^\(error: \)\?resource mapping not found\|^ensure CRDs are installed" "$scratch/output" | grep -i "error\|invalid\|unknown\|violate"; then
      echo "check: $file is rejected by the API server" >&2
      exit 1
    fi
    sed -n 's/.*no matches for kind "\([^"]*\)".*/check: not checked, the cluster has no \1/p' "$scratch/output"
  done
  echo "check: accepted by the API server (dry run)"
  if have kubeconform; then
    # The schemas of this API server.
    kubectl get --raw /openapi/v2 | python3 -B k8s/cluster/schemas.py "$scratch/schemas" >/dev/null
    kubeconform -strict -ignore-missing-schemas -summary -schema-location "$scratch/schemas/{{.ResourceKind}}{{.KindSuffix}}.json" "$scratch"/*.yaml
  fi
fi
if have kube-score; then
  # k8s/README.md explains the findings that are ignored.
  kube-score score --output-format ci --ignore-test container-ephemeral-storage-request-and-limit,container-security-context-user-group-id,statefulset-has-poddisruptionbudget,statefulset-has-host-podantiaffinity,deployment-has-host-podantiaffinity,container-image-pull-policy,pod-probes-identical,networkpolicy-targets-pod "$scratch"/overlay-*.yaml | grep -v '^\[OK\]\|^\[SKIPPED\]' || true
  [ "${PIPESTATUS[0]}" -eq 0 ] || exit 1
fi
if have checkov; then checkov --quiet --compact --skip-download --framework kubernetes -d "$scratch" --skip-check CKV_K8S_43,CKV_K8S_15; fi
if have hadolint; then hadolint docker/Dockerfile docker/frontend.Dockerfile docker/functions.Dockerfile; fi
if have shellcheck; then shellcheck docker/*.sh k8s/scripts/*.sh k8s/tests/*.sh k8s/cluster/{image,redis_image,frontend_image,program}.sh; fi
echo "check: passed"
