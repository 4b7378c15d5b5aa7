#!/usr/bin/env bash
# Makes a virtual environment in a directory with what a file of requirements names at pinned versions: venv.sh DIRECTORY FILE
# Does nothing when it is there; of several at once one installs and the others wait.
set -euo pipefail
directory=$1
requirements=$2
mark=$directory/installed

mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9
cmp -s "$requirements" "$mark" && exit 0
python3 -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
cp "$requirements" "$mark"
