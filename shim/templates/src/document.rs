//! Documents with positions: TOML, YAML and JSON files as one type, so that every error and finding names its line.

pub(crate) mod json;
pub(crate) mod table;
pub(crate) mod toml;
pub(crate) mod yaml;

use std::path::Path;

use serde_json::Value;

pub(crate) use crate::error::Position;
use crate::error::TemplateError;

/// Size limit of a template: CloudFormation accepts 1 MB, files of a CDK output and of a Terraform plan are larger.
const MAX_TEMPLATE_BYTES: u64 = 32 << 20;

/// Depth limit of a document, which bounds the recursion of all readers.
pub(crate) const MAX_DEPTH: usize = 100;

/// Name of the function that a value becomes if it cannot be evaluated. A reader reports it where the value is used.
pub(crate) const UNRESOLVED: &str = "Fn::Unresolved";

/// A value with its position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DocumentNode {
    pub value: NodeValue,
    pub position: Position,
}

/// The value of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeValue {
    Null,
    Boolean(bool),
    /// A number as written, because a template may mean it as a text, such as `012345678901`.
    Number(String),
    Text(String),
    List(Vec<DocumentNode>),
    Table(Vec<TableEntry>),
}

/// A key with its value. Keys of a table are unique.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableEntry {
    pub key: String,
    pub key_position: Position,
    pub node: DocumentNode,
}

impl DocumentNode {
    pub(crate) fn new(value: NodeValue, position: Position) -> Self {
        Self { value, position }
    }

    pub(crate) fn text(text: impl Into<String>, position: Position) -> Self {
        Self::new(NodeValue::Text(text.into()), position)
    }

    /// A table with one key at the position of the value.
    pub(crate) fn single(key: impl Into<String>, node: DocumentNode) -> Self {
        let position = node.position;
        Self::new(NodeValue::Table(vec![TableEntry { key: key.into(), key_position: position, node }]), position)
    }

    /// Returns the value of a key, if this is a table with it.
    pub(crate) fn get(&self, key: &str) -> Option<&DocumentNode> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Returns the entries of a table, otherwise none.
    pub(crate) fn entries(&self) -> &[TableEntry] {
        match &self.value {
            NodeValue::Table(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the items of a list, otherwise none.
    pub(crate) fn items(&self) -> &[DocumentNode] {
        match &self.value {
            NodeValue::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value, NodeValue::Table(_))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == NodeValue::Null
    }

    /// Returns a scalar as text. CloudFormation converts numbers and booleans in the same way.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            NodeValue::Text(text) | NodeValue::Number(text) => Some(text.clone()),
            NodeValue::Boolean(flag) => Some(flag.to_string()),
            NodeValue::Null | NodeValue::List(_) | NodeValue::Table(_) => None,
        }
    }

    /// Returns a text as it is borrowed, if this is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a boolean, also from the texts `true` and `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.value {
            NodeValue::Boolean(flag) => Some(*flag),
            NodeValue::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            NodeValue::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// Returns a number, also from a text.
    pub(crate) fn number(&self) -> Option<f64> {
        match &self.value {
            NodeValue::Number(text) | NodeValue::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            _ => None,
        }
    }

    /// Returns a whole number that is not negative, also from a text.
    pub(crate) fn whole_number(&self) -> Option<u64> {
        match &self.value {
            NodeValue::Number(text) | NodeValue::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// Returns the kind of the value for messages, such as `a list`.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Boolean(_) => "a boolean",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "a text",
            NodeValue::List(_) => "a list",
            NodeValue::Table(_) => "a table",
        }
    }

    /// Converts to JSON, for example a model's schema.
    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Boolean(flag) => Value::Bool(*flag),
            NodeValue::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
            NodeValue::Text(text) => Value::String(text.clone()),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Table(entries) => {
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
            }
        }
    }
}

/// Reads a text file of limited size.
pub(crate) fn read_text(path: &Path) -> Result<String, TemplateError> {
    let size = std::fs::metadata(path).map_err(|error| TemplateError::reading(path, "template", &error))?.len();
    if size > MAX_TEMPLATE_BYTES {
        let message = format!("the template is larger than {} MiB", MAX_TEMPLATE_BYTES >> 20);
        return Err(TemplateError::new(path, Position::default(), message));
    }
    std::fs::read_to_string(path).map_err(|error| TemplateError::reading(path, "template", &error))
}

/// Returns the position of a byte offset in a text.
pub(crate) fn position_at(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    Position { line, column: before[line_start..].chars().count() + 1 }
}
