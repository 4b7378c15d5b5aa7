#!/usr/bin/env python3
"""Checks that comments and documentation use plain technical English: counts phrases that readers cannot search for.

usage: prose.py [--rows N] [PATH ...]      (default: the tracked files of the repository)

Each counter has a limit per 10,000 words. The limits are above the highest rate in six Rust code bases of this field
(linkerd2-proxy, socketioxide, object_store, dropshot, aws-lambda-rust-runtime, sockudo). CONTRIBUTING.md, section "Style", lists
replacements. Exits with status 1 if a counter is above its limit, and lists the files with most matches.
"""
import argparse
import re
import subprocess
import sys
from collections import Counter

CLAUSE_VERBS = "is|was|were|are|it|they|has|had|have|comes?|came|goes|became|becomes|others?|everyone|stands?|follows|waits?|lies"
PERSON_VERBS = "is|was|are|has|had|comes?|came|goes|may|sends?|speaks?|puts?|reads?|waits?|ask(?:s|ed)|holds?|keeps?|leaves?|joins?"
PROXIES = "proxy|proxies|ingress|balancer|gateway|firewall|NAT|nginx|haproxy|ALB|Envoy|API Gateway|CloudFront"

# name: (pattern, limit per 10,000 words)
COUNTERS = {
    "what-clause": (rf"\b[Ww]hat (?:{CLAUSE_VERBS})\b", 3.0),
    "who-clause": (rf"\b(?:[Ww]ho(?:ever)?|[Ww]hose) (?:{PERSON_VERBS})\b", 1.0),
    "what-comment": (r"(?m)^ ?(?:What|Who|Whoever) (?!if\b)", 0.5),
    "nobody/somebody": (r"\b(?:[Nn]obody|[Ss]omebody|[Aa]nybody|[Ee]verybody|[Ww]hoever)\b", 1.0),
    "told/tells/hears": (r"\b(?:told|tells?|hears?|heard)\b", 3.0),
    "away": (r"\b(?:is|are|was|were|be|being|stays?) away\b", 0.3),
    "stands/lies": (r"\b(?:[Ss]tands?|lies)\b", 0.5),
    "behind": (rf"\bbehind\b(?! (?:a|an|the|each|one|that|this|common|several|another)? ?(?:reverse |trusted |load )?(?:{PROXIES})\b)", 2.0),
    "beside": (r"\b[Bb]eside\b", 0.5),
    "leads to": (r"\bleads? (?:to|elsewhere)\b", 0.2),
    "stranger": (r"\b[Ss]trangers?\b", 0.2),
    "mistake": (r"\b[Mm]istakes?\b", 0.2),
    "believed": (r"\bbeliev(?:es?|ed)\b", 0.2),
    "came back": (r"\b(?:comes?|came) back\b", 0.2),
    "in so many words": (r"\bin so many words\b", 0.2),
    "-ise": (r"\b\w+(?:ialis|ganis|hronis|cognis|malis|tomis|horis|imis|tilis)(?:es?|ed|ing|ation)\b", 0.2),
    "in line": (r"\b(?:in line|put in line)\b", 0.2),
}

LINE_COMMENTS = (".rs", ".ts", ".tsx", ".mjs", ".js")
HASH_COMMENTS = (".sh", ".py", ".yaml", ".yml", ".toml", "Makefile")
EXCLUDED = re.compile(r"corpus|node_modules|CHANGELOG\.md$")


def text_of(path):
    """Returns the comments of a source file, or the prose of a Markdown page."""
    try:
        with open(path, encoding="utf-8") as file:
            source = file.read()
    except (OSError, UnicodeDecodeError):
        return ""
    if path.endswith(".md"):
        return re.sub(r"```.*?```", " ", source, flags=re.S)
    if path.endswith(LINE_COMMENTS):
        return "\n".join(re.findall(r"//[/!]?(.*)", source))
    if path.endswith(HASH_COMMENTS):
        return "\n".join(re.findall(r"#\s(.*)", source))
    return ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10, help="number of files to list if a counter is above its limit")
    arguments.add_argument("paths", nargs="*")
    options = arguments.parse_args()
    tracked = ["git", "ls-files"]
    paths = options.paths or subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.splitlines()
    totals, words, worst = Counter(), 0, []
    for path in (path for path in paths if not EXCLUDED.search(path)):
        text = text_of(path)
        count = len(re.findall(r"\w+", text))
        words += count
        hits = {name: len(re.findall(pattern, text)) for name, (pattern, _) in COUNTERS.items()}
        totals.update(hits)
        worst.append((sum(hits.values()), path, [name for name, found in hits.items() if found]))
    above = False
    for name, (_, limit) in COUNTERS.items():
        rate = 10_000 * totals[name] / max(words, 1)
        above = above or rate > limit
        print(f"prose: {name:17s} {rate:6.2f} per 10,000 words (limit {limit}){'  above the limit' if rate > limit else ''}")
    if above:
        for hits, path, names in sorted(worst, reverse=True)[: options.rows]:
            print(f"  {path}: {hits} ({', '.join(names)})")
    return 1 if above else 0


if __name__ == "__main__":
    sys.exit(main())
