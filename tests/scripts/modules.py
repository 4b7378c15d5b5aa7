#!/usr/bin/env python3
"""Checks which top-level modules of each package import which (docs/ARCHITECTURE.md, "Who may import whom").

    modules.py [--graph] [ROOT]

Reads the production code of every library package under ROOT (default: this repository): `crate::…`, `super::…` and
`self::…` paths, without comments, strings and `#[cfg(test)]` items. Fails when modules of a package import each other in
a cycle, and when a module of a package with declared layers imports a module that is not in a lower layer. Each error
names file, line, the import, and the rule. `--graph` prints the imports of each module as well. No dependencies.
"""
import pathlib
import re
import sys

# Lowest first. A module may import modules of lower layers only, not those of its own.
LAYERS = {
    "shim": [
        ["secret", "clock", "breaker", "readiness", "metrics", "connection"],
        ["hub", "redis", "postgres", "functions"],
        ["bus"],
        # `config` builds the settings types that access, redis and postgres define.
        ["access"],
        ["config"],
        ["embedded", "drain", "logging"],
        ["session"],
        ["server", "cluster"],
        ["running"],
        ["wiring"],
        ["serve"],
        ["cli"],
    ],
}
ROOT_MODULE = "lib"
BLANK = re.compile(r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\.[^']*|[^'\\])'", re.S)
TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]")
PATH = re.compile(r"(?<![\w:])(?:\$?crate|super|self)\s*::\s*")
USE = re.compile(r"\buse\s+(?:self::|crate::)?(\w+)::([^;]+);")
VISIBILITY = re.compile(r"pub\s*\(\s*in\s+[\w:]+\s*\)")


def blanked(text):
    """Replaces what `match` covers by blanks, so that offsets and lines stay."""
    return re.sub(r"[^\n]", " ", text)


def item_end(text, start):
    """Returns where the item at `start` ends: after its `;` or its braces."""
    depth = 0
    for at in range(start, len(text)):
        if text[at] in "{(":
            depth += 1
        elif text[at] in "})":
            depth -= 1
            if depth == 0 and text[at] == "}":
                return at + 1
        elif text[at] == ";" and depth == 0:
            return at + 1
    return len(text)


def production(text):
    """Returns the production code, and the names of modules that are compiled for tests only."""
    text = VISIBILITY.sub(lambda match: blanked(match[0]), BLANK.sub(lambda match: blanked(match[0]), text))
    tests = set()
    while match := TEST.search(text):
        end = item_end(text, match.end())
        item = text[match.start() : end]
        tests.update(re.findall(r"\bmod\s+(\w+)\s*;", item))
        text = text[: match.start()] + blanked(item) + text[end:]
    return text, tests


def heads(text, at):
    """Yields offset and path of each name at `at`: one path, or the paths of a group in braces."""
    if at < len(text) and text[at] == "{":
        depth, start = 1, at + 1
        for end in range(at + 1, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0 or (text[end] == "," and depth == 1):
                if name := re.match(r"\s*([\w:]+)", text[start:end]):
                    yield start + name.start(1), name[1]
                start = end + 1
            if depth == 0:
                return
    elif name := re.match(r"[\w:]+", text[at:]):
        yield at, name[0]


def imports(text, own):
    """Yields offset and absolute path (below the crate) of what the module `own`, a list of names, refers to."""
    for match in PATH.finditer(text):
        base, at = ([] if "crate" in match[0] else own[:-1] if "super" in match[0] else own), match.end()
        while more := re.match(r"super\s*::\s*", text[at:]):
            base, at = base[:-1], at + more.end()
        for offset, name in heads(text, at):
            yield offset, base + [part for part in name.split("::") if part]


def edges(package):
    """Returns {(module, imported): "file:line: import"} of a package's library; the first import of each counts."""
    source, files, skipped = package / "src", {}, set()
    for path in sorted(source.rglob("*.rs")):
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[0] in ("bin", "main"):
            continue
        own = [] if parts == ["lib"] else parts
        files[path] = (own, *production(path.read_text()))
        skipped.update(tuple(own + [name]) for name in files[path][2])
    modules = {own[0] for own, _, _ in files.values() if own}
    exported, found = {}, {}
    for own, text, _ in files.values():
        for module, names in USE.findall(text) if not own else ():
            exported.update(dict.fromkeys(re.findall(r"\w+", names), module))
    for path, (own, text, _) in files.items():
        if any(tuple(own[:depth]) in skipped for depth in range(1, len(own) + 1)):
            continue
        for offset, target in imports(text, own):
            if not target or (own and target[:1] == own[:1]):
                continue
            module = target[0] if target[0] in modules else exported.get(target[0], ROOT_MODULE)
            pair = (own[0] if own else ROOT_MODULE, module)
            line = text.count("\n", 0, offset) + 1
            if pair[0] != pair[1]:
                found.setdefault(pair, f"{path}:{line}: {'::'.join(['crate', *target])}")
    return found


def cycle(graph):
    """Returns the modules of one cycle, in order, or an empty list."""
    done = set()

    def visit(module, trail):
        if module in trail:
            return trail[trail.index(module) :]
        if module in done:
            return []
        for imported in sorted(target for start, target in graph if start == module):
            if loop := visit(imported, [*trail, module]):
                return loop
        done.add(module)
        return []

    return next((loop for module in sorted({start for start, _ in graph}) if (loop := visit(module, []))), [])


def check(package, layers):
    """Returns the errors of a package, and its imports."""
    graph, errors = edges(package), []
    loop = cycle(graph)
    for pair in zip(loop, loop[1:] + loop[:1]):
        errors.append(f"{graph[pair]}: `{pair[0]}` and `{pair[1]}` import each other ({' -> '.join(loop + loop[:1])})")
    level = {module: index for index, layer in enumerate(layers or []) for module in layer}
    for (module, imported), place in sorted(graph.items()) if layers else ():
        for name in {module, imported} - {ROOT_MODULE, *level}:
            errors.append(f"{place}: `{name}` is in no layer; add it to LAYERS in tests/scripts/modules.py")
        if module != ROOT_MODULE and level.get(module, 0) <= level.get(imported, -1):
            errors.append(f"{place}: `{module}` must not import `{imported}`, which is not in a lower layer")
    return errors, graph


def main(arguments):
    show, roots = "--graph" in arguments, [argument for argument in arguments if argument != "--graph"]
    root = pathlib.Path(roots[0]) if roots else pathlib.Path(__file__).resolve().parents[2]
    libraries = (path.parent for path in sorted(root.rglob("src/lib.rs")) if "target" not in path.parts)
    failed = False
    for package in (source.parent for source in libraries):
        errors, graph = check(package, LAYERS.get(package.name))
        for module in sorted({start for start, _ in graph}) if show else ():
            print(f"{package.name}: {module} -> {' '.join(sorted(to for start, to in graph if start == module))}")
        for error in errors:
            print(f"modules: {error}", file=sys.stderr)
        failed |= bool(errors)
    if not failed:
        print("modules: no module imports another in a cycle, or against the layers")
    return int(failed)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        sys.exit(main(sys.argv[1:]))
