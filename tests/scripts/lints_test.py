#!/usr/bin/env python3
"""Tests of prose.py, names.py, log_errors.py and adrs.py: each must find a planted violation, and nothing in clean input."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import adrs  # noqa: E402
import log_errors  # noqa: E402
import names  # noqa: E402

SCRIPTS = pathlib.Path(__file__).parent


def run(script, *arguments):
    return subprocess.run([sys.executable, "-B", SCRIPTS / script, *arguments], capture_output=True, text=True, check=False)


class Prose(unittest.TestCase):
    def check(self, name, text):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory) / name
            path.write_text(text, encoding="utf-8")
            return run("prose.py", str(path))

    def test_a_phrase_above_its_limit_fails_and_names_the_file(self):
        found = self.check("page.md", "Whoever is " + "away " + "waits " + "behind" + " the queue.\n")
        self.assertEqual(found.returncode, 1)
        self.assertIn("page.md", found.stdout)

    def test_only_comments_of_code_count(self):
        code = 'const TEXT: &str = "' + "nobody" + ' is here";\n'
        self.assertEqual(self.check("lib.rs", "// Returns the head offset.\n" + code).returncode, 0)
        self.assertEqual(self.check("lib.rs", "// " + "nobody" + " is here\n").returncode, 1)

    def test_a_proxy_may_have_servers_after_it(self):
        self.assertEqual(self.check("page.md", "The server runs " + "behind" + " a reverse proxy.\n").returncode, 0)


class Names(unittest.TestCase):
    SOURCE = """
    pub struct Line; pub struct OpenLog; pub enum Kind { A }
    impl Line { pub fn new() -> Self { Self } pub fn settle(&self) {} pub fn open_log(&self) {} }
    impl Clone for Line { fn clone(&self) -> Self { Self } }
    #[cfg(test)] mod tests { struct Ignored; fn ignored() {} }
    """

    def test_declarations_are_found_without_tests_trait_implementations_and_idioms(self):
        found = [(kind, name) for kind, name, _ in names.declarations(self.SOURCE)]
        types = [("type", "Line"), ("type", "OpenLog"), ("type", "Kind")]
        self.assertEqual(found, [*types, ("function", "settle"), ("function", "open_log")])

    def test_error_types_end_in_error(self):
        derived = "#[derive(Debug, thiserror::Error)]\n#[error(\"x\")]\npub enum Fault { A }\n"
        written = "impl std::error::Error for Mistake {}\nimpl Error for ParseError {}\n"
        self.assertEqual([name for name, _ in names.misnamed_errors(derived + written)], ["Fault", "Mistake"])

    def test_long_functions_are_found_without_tests(self):
        body = "fn long_body() {\n" + "    run();\n" * 3 + "}\n"
        source = f"// fn comment() {{\n{body}fn short_body() {{ run(); }}\n#[cfg(test)]\nmod tests {{\n{body}}}\n"
        self.assertEqual([*names.long_functions(source, 4)], [("long_body", 2, 5)])
        self.assertEqual([*names.long_functions(source, 5)], [])

    def test_too_many_names_of_one_word_fail(self):
        with tempfile.NamedTemporaryFile("w", suffix=".rs", encoding="utf-8") as file:
            file.write(self.SOURCE)
            file.flush()
            self.assertEqual(run("names.py", "--limit", "25", file.name).returncode, 1)
            self.assertEqual(run("names.py", "--limit", "70", file.name).returncode, 0)


class LoggedErrors(unittest.TestCase):
    def test_an_error_without_its_sources_is_found(self):
        for call in [
            'warn!(error = %error, "x")', 'warn!(%error)', 'warn!(?source)', 'warn!(error, "x")', 'warn!("x: {error}")',
            'tracing::warn!("x: {error:?}")', 'warn!("x: {}", error)', 'warn!("x: {}", &e,)', 'warn!(detail = %e, "x")',
            'use tracing::warn as log_warning;',
        ]:
            self.assertEqual(len(log_errors.violations(call)), 1, call)
        for call in [
            'warn!(error = %errors::chain(&error), "x")', 'warn!(token.error = "expired")', 'warn!(error.kind = kind, "error")',
            'use tracing::{info, warn};',
        ]:
            self.assertEqual(log_errors.violations(call), [], call)


class DecisionRecords(unittest.TestCase):
    def errors(self, *statuses):
        with tempfile.TemporaryDirectory() as directory:
            for number, status in enumerate(statuses, 1):
                path = pathlib.Path(directory) / f"{number:04d}-record.md"
                path.write_text(f"# {number}. Record\n\n{status}\n", encoding="utf-8")
            return [*adrs.check_records(pathlib.Path(directory))]

    def test_status_lines_name_each_other(self):
        pair = ("2026-11-21 · accepted, superseded in part by ADRs 2 and 3", "2026-11-30 · accepted · supersedes ADR 1 in part")
        self.assertEqual(self.errors(*pair, "2026-11-30 · accepted · supersedes [1](0001-record.md)"), [])
        self.assertEqual(len(self.errors(*pair, "2026-11-30 · accepted")), 1)
        self.assertEqual(len(self.errors("2026-11-21 · accepted", pair[1])), 1)

    def test_references_to_missing_records_are_found(self):
        with tempfile.TemporaryDirectory() as directory:
            source = "//! Rationale: `docs/" + "adr/0001-record.md`, `docs/" + "adr/0002-other.md`.\n"
            (pathlib.Path(directory) / "lib.rs").write_text(source, encoding="utf-8")
            found = [*adrs.check_references(pathlib.Path(directory), ["lib.rs"], {"0001-record.md"})]
        self.assertEqual(found, ["lib.rs:1: docs/adr/0002-other.md does not exist"])


if __name__ == "__main__":
    unittest.main()
