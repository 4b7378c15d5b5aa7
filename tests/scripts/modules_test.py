#!/usr/bin/env python3
"""Tests of modules.py on generated packages. Run it without arguments."""
import contextlib
import io
import pathlib
import tempfile
import unittest

import modules


def run(files):
    """Returns exit code and errors for a package `shim` with these sources."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root, "shim", "src", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = modules.main([root])
        return code, err.getvalue().replace(f"{root}/", "")


class Modules(unittest.TestCase):
    LIB = "pub mod connection;\npub mod hub;\npub mod session;\n"

    def test_imports_of_lower_layers_pass(self):
        hub = "use crate::connection::Outbox;\n"
        self.assertEqual(run({"lib.rs": self.LIB, "hub.rs": hub, "connection.rs": "pub struct Outbox;\n"}), (0, ""))

    def test_an_import_of_a_higher_layer_fails_with_location_and_rule(self):
        for text in ("\nuse crate::{\n  session::Session};\n", "\n\nfn f() { crate::session::g() }\n"):
            code, errors = run({"lib.rs": self.LIB, "hub.rs": text, "session.rs": "pub struct Session;\n"})
            self.assertEqual(code, 1)
            self.assertIn("shim/src/hub.rs:3: crate::session::", errors)
            self.assertIn("`hub` must not import `session`, which is in no lower layer", errors)

    def test_a_path_of_supers_counts(self):
        order = "use super::super::session::Session;\n"
        code, errors = run({"lib.rs": self.LIB, "hub/order.rs": order, "session.rs": ""})
        self.assertEqual(code, 1)
        self.assertIn("shim/src/hub/order.rs:1: crate::session::Session: `hub` must not", errors)

    def test_super_in_an_inline_module_is_the_module_of_the_file(self):
        hub = "use crate::connection::A;\nmod session {}\nmod inner {\n  use super::session;\n  use super::super::session::B;\n}\n"
        code, errors = run({"lib.rs": self.LIB, "hub.rs": hub, "session.rs": "", "connection.rs": ""})
        self.assertEqual((code, errors.count("must not")), (1, 1), errors)
        self.assertIn("shim/src/hub.rs:5: crate::session::B", errors)

    def test_a_name_exported_by_the_root_belongs_to_its_module(self):
        lib = self.LIB + "pub use self::session::{Session, Timer};\n"
        code, errors = run({"lib.rs": lib, "hub.rs": "use crate::Timer;\n", "session.rs": ""})
        self.assertEqual((code, "`hub` must not import `session`" in errors), (1, True), errors)

    def test_an_import_of_the_whole_crate_fails(self):
        for text in ("use crate::*;\n", "use crate as root;\n", "use crate::{self as root};\n"):
            code, errors = run({"lib.rs": self.LIB, "hub.rs": text, "session.rs": ""})
            self.assertEqual(code, 1, text)
            self.assertIn("shim/src/hub.rs:1: use crate", errors)

    def test_a_cycle_fails_and_names_every_import_of_it(self):
        hub, connection = "use crate::connection::A;\n", "\npub use super::hub::B;\n"
        code, errors = run({"lib.rs": self.LIB, "hub.rs": hub, "connection.rs": connection})
        self.assertEqual(code, 1)
        self.assertIn("shim/src/connection.rs:2: crate::hub::B: cycle of modules: connection -> hub", errors)
        self.assertIn("shim/src/hub.rs:1: crate::connection::A: cycle of modules", errors)

    def test_a_module_without_a_layer_fails(self):
        code, errors = run({"lib.rs": "mod novel;\nmod hub;\n", "novel.rs": "use crate::hub::A;\n", "hub.rs": ""})
        self.assertEqual((code, "`novel` is in no layer" in errors), (1, True), errors)

    def test_comments_strings_visibility_and_tests_do_not_count(self):
        hub = """//! See [`crate::session`].
/* crate::session::A */
pub(in crate::session) const TEXT: &str = "crate::session::A";
#[cfg(test)]
use crate::session::A;
#[cfg(test)]
mod inline { use crate::session::A; fn f<'a>(_: &'a str) -> char { '"' } }
#[cfg(test)]
mod tests;
"""
        files = {"lib.rs": self.LIB, "hub.rs": hub, "hub/tests.rs": "use crate::session::A;\n", "session.rs": ""}
        self.assertEqual(run(files), (0, ""))

    def test_the_page_must_list_the_layers(self):
        layers = enumerate(modules.LAYERS["shim"].split("|"), 1)
        page = "".join(f"| {number} | {' '.join(f'`{name}`' for name in layer.split())} |\n" for number, layer in layers)
        self.assertEqual([*modules.page_layers(page)], [])
        errors = [*modules.page_layers(page.replace("`host_watch` ", "").replace("| 4 |", "| 14 |"))]
        self.assertEqual([error.split(" must")[0].split(": ")[1] for error in errors], ["layer 1", "layer 4", "layer 14"], errors)


if __name__ == "__main__":
    unittest.main()
