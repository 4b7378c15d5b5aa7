//! Reading of a table with known keys: wrong types and unknown keys become errors with line and suggestion.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{DocumentNode, NodeValue, Position, TableEntry};
use crate::error::TemplateError;

/// Errors of one file, collected over all tables.
pub(crate) struct ErrorCollector<'a> {
    file: &'a Path,
    errors: Vec<TemplateError>,
}

impl<'a> ErrorCollector<'a> {
    pub(crate) fn new(file: &'a Path) -> Self {
        Self { file, errors: Vec::new() }
    }

    pub(crate) fn add(&mut self, position: Position, message: impl Into<String>, fix: impl Into<String>) {
        self.errors.push(TemplateError::new(self.file, position, message).with_fix(fix));
    }

    /// Returns the value if no error was found.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, TemplateError> {
        TemplateError::combine(self.errors).map_or(Ok(value), Err)
    }
}

/// A table of the document, of which each key is read once. [`Self::finish`] rejects the keys that were not read.
pub(crate) struct TableReader<'a> {
    /// Path of the table, such as `functions.send`; empty for the document.
    path: String,
    entries: &'a [TableEntry],
    position: Position,
    known: Vec<&'static str>,
}

impl<'a> TableReader<'a> {
    /// Starts to read a table; a node of another type is an error and reads as an empty table.
    pub(crate) fn new(path: impl Into<String>, node: &'a DocumentNode, errors: &mut ErrorCollector<'_>) -> Self {
        let path = path.into();
        if !node.is_table() {
            let message = format!("{path} is {}, but must be a table", node.kind());
            errors.add(node.position, message, format!("write [{path}] and its keys in the lines below"));
        }
        Self { path, entries: node.entries(), position: node.position, known: Vec::new() }
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the full name of a key.
    pub(crate) fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Returns the node of a key and marks the key as known.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<&'a DocumentNode> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Reads a value with a conversion; `None` for a missing key and, with an error, for a wrong value.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        errors: &mut ErrorCollector<'_>,
        convert: impl FnOnce(&DocumentNode) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let value = convert(node);
        if value.is_none() {
            let found = node.scalar().map_or_else(|| node.kind().to_owned(), |text| format!("\"{text}\""));
            errors.add(node.position, format!("{} is {found}", self.name(key)), format!("write {expected}"));
        }
        value
    }

    pub(crate) fn text(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> Option<String> {
        self.read(key, "a text in quotation marks", errors, |node| node.as_text().map(str::to_owned))
    }

    pub(crate) fn flag(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> bool {
        self.optional_flag(key, errors).unwrap_or_default()
    }

    pub(crate) fn optional_flag(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> Option<bool> {
        self.read(key, "true or false", errors, |node| match node.value {
            NodeValue::Boolean(flag) => Some(flag),
            _ => None,
        })
    }

    /// Reads a list of texts; one text is a list with one item.
    pub(crate) fn list(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> Option<Vec<String>> {
        self.read(key, "a list of texts, such as [\"a\", \"b\"]", errors, |node| match &node.value {
            NodeValue::Text(text) => Some(vec![text.clone()]),
            NodeValue::List(items) => items.iter().map(|item| item.as_text().map(str::to_owned)).collect(),
            _ => None,
        })
    }

    /// Reads a table of texts; numbers and booleans are converted.
    pub(crate) fn texts(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> BTreeMap<String, String> {
        let expected = "a table of texts, such as { NAME = \"value\" }";
        let texts = self.read(key, expected, errors, |node| {
            node.is_table().then(|| node.entries())?.iter().map(|e| Some((e.key.clone(), e.node.scalar()?))).collect()
        });
        texts.unwrap_or_default()
    }

    /// Reads a duration with unit, or seconds as a number, within limits.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        limits: std::ops::RangeInclusive<Duration>,
        errors: &mut ErrorCollector<'_>,
    ) -> Option<Duration> {
        let (least, most) = (humantime::format_duration(*limits.start()), humantime::format_duration(*limits.end()));
        let expected = format!("a duration from {least} to {most}, such as \"5s\"");
        self.read(key, &expected, errors, |node| parse_duration(node).filter(|value| limits.contains(value)))
    }

    /// Returns all entries of a table with free keys, such as `routes`.
    pub(crate) fn children(&mut self, key: &'static str, errors: &mut ErrorCollector<'_>) -> &'a [TableEntry] {
        let Some(node) = self.node(key) else { return &[] };
        if !node.is_table() {
            let name = self.name(key);
            errors.add(node.position, format!("{name} is {}", node.kind()), format!("write a table [{name}.…]"));
        }
        node.entries()
    }

    /// Rejects the keys that were not read.
    pub(crate) fn finish(self, errors: &mut ErrorCollector<'_>) {
        for entry in self.entries.iter().filter(|entry| !self.known.contains(&entry.key.as_str())) {
            let message = format!("unknown key {}", self.name(&entry.key));
            let fix = match nearest_name(&entry.key, self.known.iter().copied()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("known keys are {}", self.known.join(", ")),
            };
            errors.add(entry.key_position, message, fix);
        }
    }
}

/// Returns the most similar candidate, or `None` if none is similar enough for a typing error.
pub(crate) fn nearest_name<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Jaro-Winkler similarity: 1.0 for equal texts. Suggestions below 0.8 are mostly wrong.
    const MIN_SIMILARITY: f64 = 0.8;
    let lower = text.to_lowercase();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Parses `"5s"`, `"500ms"` or a number of seconds.
fn parse_duration(node: &DocumentNode) -> Option<Duration> {
    match &node.value {
        NodeValue::Number(_) => node.number().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        NodeValue::Text(text) => humantime::parse_duration(text).ok(),
        _ => None,
    }
}
