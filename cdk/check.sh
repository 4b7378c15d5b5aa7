#!/usr/bin/env bash
# Checks the AWS deployment without an account: types, lint, synthesis with cdk-nag, assertions, snapshots, cfn-lint.
#
# Each environment is synthesized once, with placeholder archives for the functions' code that cannot be deployed; the tests
# and cfn-lint read the result.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")"
export AWS_EC2_METADATA_DISABLED=true CDK_DISABLE_VERSION_CHECK=1 SAM_CLI_TELEMETRY=0
unset CDK_DEFAULT_ACCOUNT CDK_DEFAULT_REGION

step() { printf -- '-- %s\n' "$1"; }

synth() { # DIRECTORY of cdk.out, ENVIRONMENT, more context
  local directory=$1 environment=$2
  shift 2
  npx cdk synth --quiet --no-notices --no-lookups --strict \
    --output "cdk.out/$directory" -c "environment=$environment" -c lambda=dist/placeholder "$@" >"dist/$directory.log" 2>&1 ||
    { cat "dist/$directory.log" >&2; return 1; }
}

step "packages"
if [[ ! node_modules/.package-lock.json -nt package-lock.json ]]; then
  npm ci --ignore-scripts --no-audit --no-fund
  touch node_modules/.package-lock.json
fi
step "lint"
npx biome check .
step "compile"
rm -rf dist cdk.out
npx tsc -p .
mkdir -p dist/placeholder
for name in authorizer connect disconnect message api stage-probe; do
  echo "placeholder: make lambda builds the archive" >"dist/placeholder/$name-arm64.zip"
done
step "synthesis"
synth dev dev
# An identity provider instead of a signing secret, API keys of backends, and a lower limit.
synth staging staging -c jwks=https://idp.example.com/jwks.json -c issuer=https://idp.example.com/ -c audience=twinway -c claims=role_claim=cognito:groups \
  -c apiKeys=arn:aws:secretsmanager:eu-central-1:123456789012:secret:backends-AbCdEf -c limits=body_bytes=4KiB,resume_time=5s
synth probe dev -c probe=only
synth prod prod -c zone=Z0123456789ABC:example.com -c platform=eks -c podsShare=25 -c edge=waf
step "tests"
node --test dist/test/*.test.js
step "cfn-lint"
venv=../target/cfn-lint
[[ -x $venv/bin/cfn-lint ]] && cmp -s requirements.txt "$venv/requirements.txt" || {
  python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
  cp requirements.txt "$venv/requirements.txt"
}
# W3005: CDK declares dependencies that CloudFormation would infer.
"$venv/bin/cfn-lint" --ignore-checks W3005 --template cdk.out/*/*.template.json ../template.yaml
