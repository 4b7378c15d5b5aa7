# `make help` lists the targets. Each target checks the programs that it needs (tests/scripts/setup.sh).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
ARGS ?=
ENV ?= dev
BENCH_BINS := --bin bench --bin bench_server --bin bare --bin load

.PHONY: help setup run install aws-local fmt lint boundaries deny sbom unit check test conformance valkey fuzz faults bench bench-quick bench-pods docs docs-config clean lambda cdk deploy deploy-probe sam-events images k8s-up k8s-deploy k8s-verify k8s-status k8s-logs k8s-forward k8s-token k8s-debug k8s-rollback k8s-restart k8s-config k8s-redis-backup k8s-redis-restore k8s-down k8s-generate k8s-eks-values k8s-check test-cluster test-cluster-smoke test-images

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Check the programs that `make test` needs; as root on Debian and Ubuntu, install missing ones
	@tests/scripts/setup.sh test

run: ## Build and start the messaging application; requires cargo and a C compiler (ARGS="--listen 127.0.0.1:9000")
	@tests/scripts/setup.sh run
	$(CARGO) run --locked --release -p shim --bin twinway -- serve $(ARGS)

install: ## Build and install `twinway` into ~/.cargo/bin, or PREFIX=/usr/local
	@tests/scripts/setup.sh run
	@CARGO="$(CARGO)" PREFIX="$(PREFIX)" tests/scripts/install.sh

aws-local: ## Run the AWS deployment locally: DynamoDB emulator, Lambda functions, the server as API Gateway
	@tests/scripts/setup.sh python
	$(CARGO) build --locked --workspace --bins
	target/debug/aws_local $(ARGS)

fmt: ## Check the formatting
	$(CARGO) fmt --all --check

lint: ## Check for compiler warnings, lints, plain language and references between decision records
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@python3 -B tests/scripts/lints_test.py --quiet
	@python3 -B tests/scripts/log_errors.py
	@python3 -B tests/scripts/adrs.py
	@python3 -B tests/scripts/prose.py
	@python3 -B tests/scripts/names.py --limit 25 --max-lines 50

boundaries: ## Check the imports between packages and between modules
	@tests/scripts/boundaries.sh
	@python3 -B tests/scripts/modules_test.py --quiet
	@python3 -B tests/scripts/modules.py

deny: ## Check licences, sources, banned crates, and security advisories where their database is reachable (requires cargo-deny)
	@tests/scripts/deny.sh

sbom: ## Write a software bill of materials per program to dist/sbom (CycloneDX; requires cargo-cyclonedx)
	@tests/scripts/sbom.sh

unit: ## Run the unit tests of the product (`make test` also runs those of the test harness)
	@tests/scripts/setup.sh unit
	$(CARGO) test --locked --workspace --exclude tests --exclude fuzz --lib

check: fmt lint boundaries unit ## Run the fast checks before a commit

test: ## Run all tests: unit, contracts, scenarios in all environments, crashes, faults, conformance
	@tests/scripts/setup.sh test
	@tests/scripts/room.sh 8
	$(CARGO) test --locked --workspace

conformance: ## Run the conformance catalogue of API Gateway (ARGS="--handlers executables", "--handlers aws-local", "--url wss://…", "--json report.json")
	@tests/scripts/setup.sh run
	$(CARGO) build --locked -p tests -p probes --bin probe --bin stage-probe --bin conformance
	target/debug/conformance $(ARGS)

valkey: ## Run the tests of Redis on Valkey 8.1 and 9.1
	@tests/scripts/setup.sh test
	@tests/scripts/valkey.sh

fuzz: ## Fuzz the parsers of network input (SECONDS_PER_TARGET=60; requires cargo-fuzz)
	@tests/scripts/fuzz.sh

lambda: ## Build the Lambda functions into dist/lambda (ARGS="x86_64" or "arm64" for one, "probe arm64" for the conformance probe)
	@tests/scripts/setup.sh lambda
	handlers/aws/scripts/lambda.sh $(ARGS)

faults: ## Run three pods with 3,000 clients while pods, Redis and the network fail (ARGS="--only kill", "--connections 300")
	@tests/scripts/setup.sh faults
	$(CARGO) build --locked --release -p shim -p tests --bin twinway --bin faults
	TWINWAY_TEST_TIMEOUT=60 target/release/faults $(ARGS)

bench: ## Measure events, broadcast, idle memory and connect rate, with baseline servers in the same run
	@tests/scripts/setup.sh bench
	$(CARGO) build --locked --release -p shim -p tests $(BENCH_BINS)
	target/release/bench --full $(ARGS)

bench-quick: ## Run a shorter, less precise `bench`
	@tests/scripts/setup.sh bench
	$(CARGO) build --locked --release -p shim -p tests $(BENCH_BINS)
	target/release/bench --quick $(ARGS)

bench-pods: ## Measure a broadcast to 3,000 clients on three pods, compared with Socket.IO (ARGS="--quick"; requires Node 20)
	@tests/scripts/setup.sh pods
	tests/scripts/socketio.sh target/socketio
	$(CARGO) build --locked --release -p shim -p tests --bin twinway --bin bench --bin bench_pods --bin load
	target/release/bench --pods --output target/bench-pods.json $(or $(ARGS),--full)

cdk: ## Check the AWS deployment: types, lint, synthesis with cdk-nag, tests, cfn-lint (requires Node 20, no account)
	@tests/scripts/setup.sh cdk
	@cdk/check.sh

deploy: ## Deploy the application to AWS (ENV=dev|staging|prod, ARGS="-c alarmEmail=…"; docs/AWS.md)
	$(MAKE) lambda ARGS=arm64
	cd cdk && npm ci --ignore-scripts --no-audit --no-fund && npx tsc -p .
	cd cdk && npx cdk deploy 'Twinway-$(ENV)-App' -c environment=$(ENV) --outputs-file cdk.out/outputs-$(ENV).json $(ARGS)

deploy-probe: ## Deploy the conformance probe to AWS, for `make conformance ARGS="--url wss://…"` (ENV=dev|staging; docs/AWS.md)
	$(MAKE) lambda ARGS="probe arm64"
	cd cdk && npm ci --ignore-scripts --no-audit --no-fund && npx tsc -p .
	cd cdk && npx cdk deploy 'Twinway-$(ENV)-Probe' -c environment=$(ENV) -c probe=only $(ARGS)

sam-events: ## Write an event for each function to sam/events, for `sam local invoke`
	$(CARGO) run --locked -p tests --bin sam_events -- sam/events

images: ## Build the container images with Docker, podman or buildah (ARGS="server frontend migrate lambda", PREBUILT=1, REGISTRY=…)
	@docker/images.sh $(ARGS)

K8S = python3 -B k8s/scripts/k8s.py $(if $(DRY_RUN),--dry-run) --env "$(ENV)" --namespace "$(NAMESPACE)" --context "$(CONTEXT)"

k8s-up: ## Start a local Kubernetes cluster: kind or minikube with a container engine, k8s/cluster otherwise (as root)
	@$(K8S) up

k8s-deploy: ## Build, install or upgrade, verify, roll back on failure (ENV=dev|staging|prod NAMESPACE= CONTEXT= REGISTRY= IMAGE_TAG= DRY_RUN=1)
	@$(K8S) deploy

k8s-verify: ## Check the pods, then log in, send and resume inside the cluster
	@$(K8S) verify

k8s-status: ## Print pods, autoscaling and the last deployments
	@$(K8S) status

k8s-logs: ## Follow the logs of all servers
	@$(K8S) logs

k8s-forward: ## Forward a local port to the servers (PORT=8080)
	@$(K8S) forward $(PORT)

k8s-token: ## Print a token for a client (USER_ID=alice)
	@$(K8S) token $(USER_ID)

k8s-debug: ## Start a shell next to a server, in an ephemeral container (IMAGE=…)
	@$(K8S) debug $(IMAGE)

k8s-rollback: ## Return to the previous revision (REVISION=…)
	@$(K8S) rollback $(REVISION)

k8s-restart: ## Replace the pods one after the other
	@$(K8S) restart

k8s-config: ## Change settings of the servers and roll (SETTINGS="TWINWAY_PROFILE=open …")
	@$(K8S) config $(SETTINGS)

k8s-redis-backup: ## Copy all messages from Redis to the backup volume, and compare (needs backup.enabled)
	@$(K8S) backup

k8s-redis-restore: ## Copy the backup to Redis, and compare
	@$(K8S) restore

k8s-down: ## Remove the release (ARGS=cluster: stop the local cluster)
	@$(K8S) down $(ARGS)

k8s-generate: ## Regenerate values.yaml, the table of values and the kustomize overlays
	@python3 -B k8s/scripts/values.py
	@python3 -B k8s/scripts/overlays.py

k8s-eks-values: ## Write the chart's values for EKS to dist/eks-ENV.json, from the outputs of `cdk deploy` (docs/AWS.md)
	@mkdir -p dist
	@python3 -B k8s/scripts/eks_values.py $(ARGS) cdk/cdk.out/outputs-$(ENV).json >dist/eks-$(ENV).json || { rm dist/eks-$(ENV).json; exit 1; }
	@echo "k8s: next: make k8s-deploy ENV=$(ENV) VALUES=dist/eks-$(ENV).json CONTEXT=… REGISTRY=…"

k8s-check: ## Check chart, overlays, scripts and Dockerfiles (helm, kubernetes-validate, kube-score, hadolint, shellcheck where installed)
	@k8s/scripts/check.sh

test-cluster: ## Test the chart on a cluster: KUBECONFIG's, or one of its own, as root (ARGS="all", "drain upgrade", "--list")
	@k8s/tests/run.sh $(ARGS)

test-cluster-smoke: ## Test the chart on a one-node cluster of its own, where root, Debian and Go are there; otherwise say why not
	@k8s/tests/smoke.sh

test-images: ## Test each image alone: health, signals, user, read-only root (podman as root, or Docker)
	@docker/test.sh $(ARGS)

docs-config: ## Regenerate the configuration reference and the example file
	$(CARGO) run --locked --bin twinway -- config docs > docs/CONFIGURATION.md
	$(CARGO) run --locked --bin twinway -- config example > twinway.toml.example

docs: docs-config ## Regenerate all generated pages; runs the conformance suite
	$(CARGO) build --locked -p tests --bin probe --bin conformance
	target/debug/conformance --markdown > docs/FIDELITY.md

clean: ## Remove build results and local data
	$(CARGO) clean
	rm -rf twinway-data
