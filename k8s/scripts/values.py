#!/usr/bin/env python3
"""Writes the chart's values.yaml and the table of values in docs/KUBERNETES.md from values.schema.json.

usage: values.py [--check]

With --check, writes nothing and fails if one of the files is not up to date.
"""
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "k8s/chart/values.schema.json"
VALUES = ROOT / "k8s/chart/values.yaml"
PAGE = ROOT / "docs/KUBERNETES.md"
BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
HEAD = "# Generated from values.schema.json by k8s/scripts/values.py; docs/KUBERNETES.md describes every value.\n"


def rows(properties, prefix=""):
    """Yields path and schema of every value that has a default."""
    for name, schema in properties.items():
        path = f"{prefix}{name}"
        if "properties" in schema:
            yield from rows(schema["properties"], f"{path}.")
        elif "default" in schema:
            yield path, schema


def values_yaml(properties, indent=""):
    lines = []
    for name, schema in properties.items():
        if "properties" in schema:
            lines += [f"{indent}{name}:", *values_yaml(schema["properties"], indent + "  ")]
        elif "default" in schema:
            lines.append(f"{indent}{name}: {json.dumps(schema['default'], ensure_ascii=False)}")
    return lines


def kind(schema):
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    found = schema["type"]
    return " or ".join(found) if isinstance(found, list) else found


def table(properties):
    lines = ["| value | type | default | |", "|---|---|---|---|"]
    for path, schema in rows(properties):
        default = json.dumps(schema["default"], ensure_ascii=False)
        text = schema["description"].replace("|", "\\|")
        lines.append(f"| `{path}` | {kind(schema)} | `{default}` | {text} |")
    return lines


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    properties = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    page = PAGE.read_text(encoding="utf-8")
    body = "\n".join([BEGIN, "", *table(properties), "", END])
    wanted = {
        VALUES: HEAD + "\n".join(values_yaml(properties)) + "\n",
        PAGE: re.sub(f"{BEGIN}.*?{END}", lambda _: body, page, flags=re.S),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"values: not up to date with values.schema.json: {names}; run `make k8s-generate`")
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
