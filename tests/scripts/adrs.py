#!/usr/bin/env python3
"""Checks the decision records in docs/adr, and the references to them in all tracked files.

usage: adrs.py [ROOT]      (default: this repository)

Fails if a path such as docs/adr/0034-restored-connections.md does not exist, if the title of a record has another number than its
file, if two records have the same number, or if a record that supersedes another one is missing in the status line of that one,
or the reverse. Status lines name records as "ADR 9", "ADRs 16 and 21", or as a link, [9](0009-redis-connections.md).
"""
import pathlib
import re
import subprocess
import sys

REFERENCE = re.compile(r"\badr/(\d{4}-[\w-]+\.md)|\]\((\d{4}-[\w-]+\.md)")
NUMBERS = re.compile(r"\bADRs? (\d+(?:(?:, | and )\d+)*)|\[(\d+)\]\(\d{4}-")
CLAUSE = re.compile(r"\b(superseded(?: in part)? by|supersedes)\b")


def numbers_in(text):
    """Returns the numbers of the records that a part of a status line names."""
    groups = (listed or linked for listed, linked in NUMBERS.findall(text))
    return {int(number) for group in groups for number in re.findall(r"\d+", group)}


def relations(status):
    """Returns the numbers that a status line supersedes, and those by which it is superseded."""
    found = {"supersedes": set(), "superseded by": set()}
    clauses = list(CLAUSE.finditer(status))
    for clause, following in zip(clauses, [*clauses[1:], None]):
        end = following.start() if following else len(status)
        kind = "supersedes" if clause[1] == "supersedes" else "superseded by"
        found[kind] |= numbers_in(status[clause.end() : end])
    return found["supersedes"], found["superseded by"]


def check_records(directory):
    """Yields an error for each record with a wrong number or a status that another record contradicts."""
    records = {}
    for path in sorted(directory.glob("[0-9]*.md")):
        number = int(path.name[:4])
        title, _, status = path.read_text(encoding="utf-8").split("\n")[:3]
        if not title.startswith(f"# {number}. "):
            yield f"{path.name}: the title must start with '# {number}. '"
        if number in records:
            yield f"{path.name}: number {number} is already used by {records[number][0]}"
        records[number] = (path.name, *relations(status))
    for number, (name, supersedes, superseded_by) in records.items():
        for other in sorted(supersedes):
            if other not in records or number not in records[other][2]:
                yield f"{name}: supersedes {other}, whose status line does not say 'superseded by ADR {number}'"
        for other in sorted(superseded_by):
            if other not in records or number not in records[other][1]:
                yield f"{name}: superseded by {other}, whose status line does not say 'supersedes ADR {number}'"


def check_references(root, files, existing):
    """Yields an error for each reference to a record that does not exist."""
    for name in files:
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        for match in REFERENCE.finditer(text):
            record = match[1] or match[2]
            if record not in existing:
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: docs/adr/{record} does not exist"


def main(arguments):
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2]
    directory = root / "docs" / "adr"
    listed = subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True, check=True).stdout
    existing = {path.name for path in directory.glob("*.md")}
    files = [name for name in listed.splitlines() if not name.startswith("tests/scripts/")]
    errors = [*check_records(directory), *check_references(root, files, existing)]
    for error in errors:
        print(f"adrs: {error}", file=sys.stderr)
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(print(__doc__) if {"-h", "--help"} & set(sys.argv) else main(sys.argv[1:]))
