#!/usr/bin/env python3
"""Counts names of one word among the types and functions of production Rust code, and long functions; fails above a limit.

usage: names.py [--limit PERCENT] [--max-lines NUMBER] [--list types|functions] [PATH ...]      (default: the tracked files of the repository)

A name of one word does not describe the item at its place of use without its module (`Line`, `settle`). Types that implement
`std::error::Error` must end in `Error`. Excluded: files under `tests/`, modules under `#[cfg(test)]`, functions of trait
implementations (the trait defines the name), and the idioms `new`, `from` and `main`.
"""
import argparse
import re
import subprocess
import sys

IDIOMS = {"new", "from", "main"}
TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/"  # comments
    r"|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\])'"  # literals
    r"|#!?\[[^\]]*\]|[A-Za-z_][A-Za-z0-9_]*|[{};]",
    re.S,
)
ERROR_TYPES = re.compile(
    r"#\[derive\([^)]*\b(?:thiserror::Error|Error)\b[^)]*\)\](?:\s*(?:#\[[^\]]*\]|//[^\n]*))*\s*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum)\s+(\w+)"
    r"|impl(?:<[^>]*>)?\s+(?:std::error::)?Error\s+for\s+(\w+)"
)
WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def declarations(source):
    """Yields (kind, name, line) of each counted type and function."""
    depth, skip_until, test_item = 0, None, False
    pending, blocks = None, []
    tokens = [(m.group(0), m.start()) for m in TOKEN.finditer(source)]
    for i, (token, at) in enumerate(tokens):
        if token.startswith(("//", "/*", '"', "'", 'b"', "r\"", "r#")):
            continue
        if token.startswith("#"):
            test_item = test_item or re.match(r"#\[cfg\((?:test|all\(test)", token) is not None
            continue
        if token == "{":
            depth += 1
            blocks.append(pending)
            if test_item and skip_until is None:
                skip_until = depth
            pending, test_item = None, False
        elif token == "}":
            if skip_until == depth:
                skip_until = None
            depth -= 1
            if blocks:
                blocks.pop()
        elif token == ";":
            pending, test_item = None, False
        elif token == "impl" and pending is None and (i == 0 or tokens[i - 1][0] in "{};" or tokens[i - 1][0] in ("unsafe",) or tokens[i - 1][0].startswith(("#", "//", "/*"))):
            header = source[at : source.find("{", at)]
            pending = "trait impl" if re.search(r"\sfor\s+(?!<)", re.sub(r"for\s*<[^>]*>", "", header)) else "impl"
        elif token in ("struct", "enum", "trait", "union", "type", "fn") and skip_until is None and not test_item:
            following = tokens[i + 1][0] if i + 1 < len(tokens) else ""
            # `fn(Duration)` is a type, not a declaration.
            if not re.match(r"[A-Za-z_]\w*$", following) or not source[at + len(token)].isspace():
                continue
            inside = blocks[-1] if blocks else None
            if inside == "trait impl" and token in ("fn", "type"):
                continue
            if inside == "trait" and token == "type":
                continue
            if token == "trait":
                pending = "trait"
            kind = "function" if token == "fn" else "type"
            if following not in IDIOMS:
                yield kind, following, source.count("\n", 0, at) + 1


def long_functions(source, max_lines):
    """Yields (name, first line, number of lines) of each longer function, from `fn` to its closing brace, without tests."""
    blocks, pending, test_item, skip_until = [], None, False, None
    tokens = [(m.group(0), m.start()) for m in TOKEN.finditer(source)]
    for (token, at), (following, _) in zip(tokens, [*tokens[1:], ("", 0)]):
        if token.startswith("#"):
            test_item = test_item or re.match(r"#\[cfg\((?:test|all\(test)", token) is not None
        elif token == "fn" and source[at + 2].isspace():
            pending = (following, source.count("\n", 0, at) + 1)
        elif token == "{":
            blocks.append(pending)
            if test_item and skip_until is None:
                skip_until = len(blocks)
            pending, test_item = None, False
        elif token == "}" and blocks:
            function, in_test = blocks.pop(), skip_until is not None
            if skip_until == len(blocks) + 1:
                skip_until = None
            lines = source.count("\n", 0, at) + 2 - function[1] if function else 0
            if lines > max_lines and not in_test:
                yield *function, lines
        elif token == ";":
            pending, test_item = None, False


def misnamed_errors(source):
    """Yields each type that implements `std::error::Error` under a name without the ending."""
    for match in ERROR_TYPES.finditer(source.split("#[cfg(test)]\nmod tests {")[0]):
        name = match[1] or match[2]
        if not name.endswith("Error"):
            yield name, source.count("\n", 0, match.start()) + 1


def production(paths):
    for path in paths:
        test = re.search(r"(^|/)(tests|fuzz|benches)/|/tests\.rs$|_tests\.rs$", path)
        if path.endswith(".rs") and not test:
            yield path


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--limit", type=float, help="fail if more than this percentage of types or functions has one word")
    arguments.add_argument("--max-lines", type=int, help="fail if a function has more lines than this")
    arguments.add_argument("--list", choices=["types", "functions"], help="print each name of one word with its location")
    arguments.add_argument("paths", nargs="*")
    options = arguments.parse_args()
    paths = options.paths or subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n")
    found, above = {"type": [], "function": []}, False
    for path in production(paths):
        with open(path, encoding="utf-8") as file:
            source = file.read()
        for kind, name, line in declarations(source):
            found[kind].append((name, path, line))
        for name, line, lines in long_functions(source, options.max_lines) if options.max_lines else ():
            above = True
            print(f"{path}:{line}: the function `{name}` has {lines} lines; split it (at most {options.max_lines})")
        for name, line in misnamed_errors(source):
            above = True
            print(f"{path}:{line}: the error type `{name}` must end in `Error`")
    for kind, names in found.items():
        single = [row for row in names if len(WORDS.findall(row[0])) == 1]
        share = 100 * len(single) / max(len(names), 1)
        too_many = options.limit is not None and share > options.limit
        above = above or too_many
        print(f"{kind} names of one word: {len(single)} of {len(names)}, {share:.1f} %{'  above the limit' if too_many else ''}")
        if options.list == kind + "s":
            for name, path, line in single:
                print(f"  {path}:{line}: {name}")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
