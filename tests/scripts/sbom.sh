#!/usr/bin/env bash
# Writes a software bill of materials (CycloneDX 1.5, JSON) for each program and Lambda function to dist/sbom.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,2s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
command -v cargo-cyclonedx >/dev/null || { echo "sbom: cargo-cyclonedx is missing; 'cargo install --locked cargo-cyclonedx@0.5.9'" >&2; exit 69; }

export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
"$cargo" cyclonedx --quiet --format json --spec-version 1.5 --describe binaries --target x86_64-unknown-linux-gnu --no-build-deps
mkdir -p dist/sbom
for package in shim migrate handlers/aws; do
  find "$package" -maxdepth 1 -name '*.cdx.json' -exec mv {} dist/sbom/ \;
done
git ls-files --others '*.cdx.json' | grep -v '^dist/' | xargs -r rm --
ls dist/sbom
