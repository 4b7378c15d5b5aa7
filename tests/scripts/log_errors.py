#!/usr/bin/env python3
"""Fails on a log call that formats an error without `errors::chain`, which includes the error's sources.

Checks the calls of tracing's macros in production code: a field with an error must be `error = %errors::chain(&error)`.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["handlers", "migrate", "shim"]
CALL = re.compile(r"\b(?:tracing::)?(?:error|warn|info|debug|trace|event)!\(")
NAMES = r"(?:error|source|err)"
# `error = …` without the helper, and the shorthands `%error`, `?error` and `error`; `token.error = "…"` is a code.
FIELD = re.compile(rf"(?<![\w.])(?:log\.)?{NAMES} = (?![^,]*errors::chain\()|[%?]{NAMES}\b|(?:^|, ){NAMES}(?=,)|as &dyn (?:std::error::)?Error")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def production(path):
    return "tests" not in path.parts and path.name != "tests.rs" and "target" not in path.parts


def body(text, start):
    """Returns the arguments of the macro call that opens before `start`, without string literals."""
    depth, end = 1, start
    text = TEXT.sub(lambda found: '"' + " " * (len(found[0]) - 2) + '"', text[start : start + 2000])
    for end, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            break
    return " ".join(text[:end].split())


def main():
    violations = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.rs")):
            if not production(path.relative_to(ROOT)):
                continue
            text = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests {")[0]
            for call in CALL.finditer(text):
                if FIELD.search(body(text, call.end())):
                    violations.append(f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, call.start()) + 1}")
    for violation in violations:
        print(f"log_errors: {violation}: write `error = %errors::chain(&error)`, which includes the sources", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
