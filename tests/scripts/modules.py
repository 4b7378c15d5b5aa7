#!/usr/bin/env python3
"""Checks the imports between the top-level modules of each package (docs/ARCHITECTURE.md, "Import rules").

    modules.py [--graph] [ROOT]

Reads the production code of every library package under ROOT (default: this repository): `crate::…`, `super::…` and
`self::…` paths, without comments, strings and `#[cfg(test)]` items. Fails if modules of a package import each other in
a cycle, or if a module of a package with declared layers imports a module that is not in a lower layer, or if the page
lists other layers of the shim. Each error contains file, line, import and rule. `--graph` also prints the imports of each module. No dependencies.
"""
import pathlib
import re
import sys

# Lowest layer first. A module may import modules of lower layers only, not those of its own layer. `functions` is low, because
# it adapts the application to ports that `connection` defines. `config` is above `access`, `postgres` and `redis`, because it
# builds the settings types that they define; modules that are built from a configuration (`embedded`, `logging`) are above it.
LAYERS = {
    "shim": "breaker connection exit_code host_watch metrics readiness secret | functions hub postgres redis | access bus | config | "
    "drain embedded logging session | cluster server | running | wiring | startup | serve | cli"
}
ROOT_MODULE = "lib"
BLANK = re.compile(r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\.[^']*|[^'\\])'", re.S)
TEST = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*)\)\]")
PATH = re.compile(r"(?<![\w:])(?:\$?crate|super|self)\s*::\s*")
USE = re.compile(r"\buse\s+(?:self::|crate::)?(\w+)::([^;]+);")
INLINE = re.compile(r"\bmod\s+(\w+)\s*\{")
VISIBILITY = re.compile(r"pub\s*\(\s*in\s+[\w:]+\s*\)")


def blanked(match):
    """Replaces a match by blanks, which preserves offsets and line numbers."""
    return re.sub(r"[^\n]", " ", match[0])


def item_end(text, start):
    """Returns the end of the item at `start`: after its `;` or its closing brace."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] in "{(") - (text[at] in "})")
        if depth == 0 and text[at] in ";}":
            return at + 1
    return len(text)


def production(text):
    """Returns the production code, and the names of modules that are compiled for tests only."""
    text, tests = VISIBILITY.sub(blanked, BLANK.sub(blanked, text)), []
    while match := TEST.search(text):
        end = item_end(text, match.end())
        tests += re.findall(r"\bmod\s+(\w+)\s*;", text[match.start() : end])
        text = text[: match.start()] + re.sub(r"[^\n]", " ", text[match.start() : end]) + text[end:]
    return text, tests


def names(text, at):
    """Yields offset and path of each name at `at`: one path, or the paths of a group in braces."""
    if text[at : at + 1] != "{":
        if name := re.match(r"[\w:]+", text[at:]):
            yield at, name[0]
        return
    depth, start = 1, at + 1
    for end in range(start, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0 or (depth == 1 and text[end] == ","):
            if name := re.match(r"\s*([\w:]+)", text[start:end]):
                yield start + name.start(1), name[1]
            start = end + 1
        if depth == 0:
            return


def imports(text, file):
    """Yields offset and path, relative to the crate's root, of all references in the module `file` (a list of names)."""
    inline = [(found.start(), item_end(text, found.end() - 1), found[1]) for found in INLINE.finditer(text)]
    for match in PATH.finditer(text):
        own = file + [name for start, end, name in inline if start < match.start() < end]
        base, at = ([] if "crate" in match[0] else own[:-1] if "super" in match[0] else own), match.end()
        while more := re.match(r"super\s*::\s*", text[at:]):
            base, at = base[:-1], at + more.end()
        for offset, name in names(text, at):
            yield offset, base + [part for part in name.split("::") if part]


def edges(package):
    """Returns {(module, imported): "file:line: import"}, with the first import of each pair."""
    source, files, skipped, exported, found = package / "src", {}, set(), {}, {}
    for path in sorted(source.rglob("*.rs")):
        parts = list(path.relative_to(source).with_suffix("").parts)
        if parts[0] not in ("bin", "main"):
            own = [] if parts == ["lib"] else parts
            text, tests = production(path.read_text())
            files[path] = own, text
            skipped.update((*own, name) for name in tests)
            for module, group in USE.findall(text) if not own else ():
                exported.update(dict.fromkeys(re.findall(r"\w+", group), module))
    modules = {own[0] for own, _ in files.values() if own}
    for path, (own, text) in files.items():
        if any(tuple(own[:depth]) in skipped for depth in range(1, len(own) + 1)):
            continue
        module = own[0] if own else ROOT_MODULE
        for offset, target in imports(text, own):
            imported = target[0] if target and target[0] in modules else exported.get((target or [""])[0], ROOT_MODULE)
            if target and imported != module:
                place = f"{path}:{text.count(chr(10), 0, offset) + 1}: {'::'.join(['crate', *target])}"
                found.setdefault((module, imported), place)
    return found


def cycle(graph, module, trail, done):
    """Returns the modules of one cycle reachable from `module`, in order, or an empty list."""
    if module in trail:
        return trail[trail.index(module) :]
    if module in done:
        return []
    done.add(module)
    following = (cycle(graph, to, [*trail, module], done) for start, to in sorted(graph) if start == module)
    return next((loop for loop in following if loop), [])


def check(graph, layers):
    """Returns the errors of a package's imports."""
    done, errors = set(), []
    loop = next((loop for start, _ in sorted(graph) if (loop := cycle(graph, start, [], done))), [])
    for pair in zip(loop, loop[1:] + loop[:1]):
        errors.append(f"{graph[pair]}: cycle of modules: {' -> '.join(loop + loop[:1])}")
    level = {module: index for index, layer in enumerate(layers) for module in layer.split()}
    for (module, imported), place in sorted(graph.items()) if level else ():
        for name in sorted({module, imported} - {ROOT_MODULE, *level}):
            errors.append(f"{place}: `{name}` is in no layer of LAYERS in tests/scripts/modules.py")
        if module in level and level[module] <= level.get(imported, -1):
            errors.append(f"{place}: `{module}` must not import `{imported}`, which is in no lower layer")
    return errors


# Imports that hide from which module a name comes.
HIDDEN = re.compile(r"\buse\s+crate\s*::\s*\*|\buse\s+crate\s+as\b|\buse\s+crate\s*::\s*\{[^;]*\bself\s+as\b")


def hidden_imports(package):
    """Returns an error for each import of the whole crate, which this check could not follow."""
    found = []
    for path in sorted((package / "src").rglob("*.rs")):
        text, _ = production(path.read_text(encoding="utf-8"))
        for match in HIDDEN.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {match[0]}: name the module in the import")
    return found


def page_layers(page):
    """Yields an error for each layer of the shim that the table in docs/ARCHITECTURE.md lists with other modules."""
    rows = dict(re.findall(r"^\| (\d+) \| (`[^|]*`) \|$", page, re.M))
    declared = {str(number): layer.split() for number, layer in enumerate(LAYERS["shim"].split("|"), 1)}
    for number in sorted({*rows, *declared}, key=int):
        listed = re.findall(r"`(\w+)`", rows.get(number, ""))
        if sorted(listed) != sorted(declared.get(number, [])):
            expected = " ".join(f"`{module}`" for module in sorted(declared.get(number, []))) or "no such layer"
            yield f"docs/ARCHITECTURE.md: layer {number} must be {expected}, as in LAYERS in tests/scripts/modules.py"


def main(arguments):
    roots = [argument for argument in arguments if argument != "--graph"]
    root, errors = pathlib.Path(roots[0]) if roots else pathlib.Path(__file__).resolve().parents[2], []
    for package in (path.parents[1] for path in sorted(root.rglob("src/lib.rs")) if "target" not in path.parts):
        graph = edges(package)
        errors += hidden_imports(package)
        errors += check(graph, LAYERS.get(package.name, "").split("|"))
        for module in sorted({start for start, _ in graph}) if "--graph" in arguments else ():
            print(f"{package.name}: {module} -> {' '.join(sorted(to for start, to in graph if start == module))}")
    page = root / "docs" / "ARCHITECTURE.md"
    errors += page_layers(page.read_text(encoding="utf-8")) if page.exists() else ()
    for error in errors:
        print(f"modules: {error}", file=sys.stderr)
    if not errors:
        print("modules: no cycles of modules, and all imports follow the layers")
    return int(bool(errors))


if __name__ == "__main__":
    sys.exit(print(__doc__) if {"-h", "--help"} & set(sys.argv) else main(sys.argv[1:]))
