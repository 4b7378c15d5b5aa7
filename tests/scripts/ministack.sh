#!/usr/bin/env bash
# Installs MiniStack, the DynamoDB of the tests, into the directory named: a virtual environment at pinned versions.
# Does nothing when it is there; of several at once one installs and the others wait.
set -euo pipefail
directory=$1
requirements=$(dirname "$0")/../dynamodb/requirements.txt
mark=$directory/installed

mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9
cmp -s "$requirements" "$mark" && exit 0
python3 -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$mark"
