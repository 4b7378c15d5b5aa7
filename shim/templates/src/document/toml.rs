//! TOML as a document.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{DocumentNode, NodeValue, Position, TableEntry, position_at};
use crate::error::TemplateError;

/// Parses a file; an error has the line and column of the syntax error.
pub(crate) fn parse_toml(file: &Path, text: &str) -> Result<DocumentNode, TemplateError> {
    let lines = LineIndex::new(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(DocumentNode::new(table_value(table.get_ref(), &lines), Position { line: 1, column: 1 })),
        Err(error) => {
            let position = error.span().map(|span| position_at(text, span.start)).unwrap_or_default();
            let message = format!("syntax error: {}", error.message().replace('\n', ", "));
            Err(TemplateError::new(file, position, message))
        }
    }
}

fn table_value(table: &DeTable<'_>, lines: &LineIndex<'_>) -> NodeValue {
    let mut entries: Vec<TableEntry> = table
        .iter()
        .map(|(key, value)| TableEntry {
            key: key.get_ref().to_string(),
            key_position: lines.position(key.span().start),
            node: node(value, lines),
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_position);
    NodeValue::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &LineIndex<'_>) -> DocumentNode {
    let content = match value.get_ref() {
        DeValue::String(text) => NodeValue::Text(text.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(decimal) => NodeValue::Number(decimal.to_string()),
            Err(_) => NodeValue::Number(number.to_string()),
        },
        DeValue::Float(number) => NodeValue::Number(number.as_str().to_owned()),
        DeValue::Boolean(flag) => NodeValue::Boolean(*flag),
        DeValue::Datetime(time) => NodeValue::Text(time.to_string()),
        DeValue::Array(items) => NodeValue::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(table) => table_value(table, lines),
    };
    DocumentNode::new(content, lines.position(value.span().start))
}

/// Offsets of the line starts: finds a position without a scan of the complete text.
struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    fn new(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self { text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        Position { line, column: self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1 }
    }
}
