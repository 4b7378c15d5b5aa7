#!/usr/bin/env bash
# Creates a virtual environment with the pinned packages of a requirements file: venv.sh DIRECTORY FILE
# Does nothing if it is installed; concurrent calls wait for one installation.
set -euo pipefail
case ${1:-} in --help | -h) sed -n '2,3s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
directory=$1
requirements=$2
mark=$directory/installed

mkdir -p "$directory"
exec 9>"$directory/lock"
flock 9
cmp -s "$requirements" "$mark" && exit 0
python3 -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$requirements"
cp "$requirements" "$mark"
