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
NAMES = r"(?:error|source|err|e)"
# `error = …` without the helper, and the shorthands `%error`, `?error` and `error`; `token.error = "…"` is a code.
# The third alternative finds a positional argument of a format string.
FIELD = re.compile(rf"(?<![\w.])(?:log\.)?{NAMES} = (?![^,]*errors::chain\()|[%?]{NAMES}\b|(?:^|, )&?{NAMES}(?=,|$)|as &dyn (?:std::error::)?Error")
# An error in a format string.
INLINE = re.compile(rf"\{{{NAMES}(?::[^}}]*)?\}}")
# Another name for a macro hides its calls.
ALIAS = re.compile(r"\buse tracing::[^;]*\b(?:error|warn|info|debug|trace|event) as \w+")
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')


def production(path):
    return "tests" not in path.parts and path.name != "tests.rs" and "target" not in path.parts


def arguments(text, start):
    """Returns the arguments of the macro call that opens before `start`: with and without string literals."""
    depth, end = 1, 0
    text = text[start : start + 2000]
    blanked = TEXT.sub(lambda found: '"' + " " * (len(found[0]) - 2) + '"', text)
    for end, character in enumerate(blanked):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            break
    return text[:end], " ".join(blanked[:end].split()).rstrip(",")


def violations(text):
    """Returns the offsets of calls that log an error without its sources, and of imports that rename a macro."""
    found = [alias.start() for alias in ALIAS.finditer(text)]
    for call in CALL.finditer(text):
        literal, blanked = arguments(text, call.end())
        if FIELD.search(blanked) or INLINE.search(literal):
            found.append(call.start())
    return found


def main():
    places = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.rs")):
            if not production(path.relative_to(ROOT)):
                continue
            text = path.read_text(encoding="utf-8").split("#[cfg(test)]\nmod tests {")[0]
            places += [f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}" for at in violations(text)]
    for place in places:
        print(f"log_errors: {place}: write `error = %errors::chain(&error)`, which includes the sources", file=sys.stderr)
    return 1 if places else 0


if __name__ == "__main__":
    sys.exit(main())
