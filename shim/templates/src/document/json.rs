//! JSON as a document. The YAML parser provides the positions, because JSON is a subset of YAML.

use std::path::Path;

use serde_json::Value;

use super::yaml::parse_yaml;
use super::{DocumentNode, NodeValue, Position, TableEntry};
use crate::error::TemplateError;

/// Parses a file; an error has the line and column of the syntax error.
pub(crate) fn parse_json(file: &Path, text: &str) -> Result<DocumentNode, TemplateError> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let position = Position { line: error.line(), column: error.column() };
        let message = error.to_string();
        let cause = message.split(" at line ").next().unwrap_or_default();
        TemplateError::new(file, position, format!("syntax error: {cause}"))
    })?;
    // The few texts that are JSON but no YAML, such as surrogate pairs in escapes, are read without positions.
    Ok(parse_yaml(file, text).unwrap_or_else(|_| from_value(&value)))
}

/// Converts a value without positions.
pub(crate) fn from_value(value: &Value) -> DocumentNode {
    let content = match value {
        Value::Null => NodeValue::Null,
        Value::Bool(flag) => NodeValue::Boolean(*flag),
        Value::Number(number) => NodeValue::Number(number.to_string()),
        Value::String(text) => NodeValue::Text(text.clone()),
        Value::Array(items) => NodeValue::List(items.iter().map(from_value).collect()),
        Value::Object(pairs) => NodeValue::Table(
            pairs
                .iter()
                .map(|(key, value)| TableEntry {
                    key: key.clone(),
                    key_position: Position::default(),
                    node: from_value(value),
                })
                .collect(),
        ),
    };
    DocumentNode::new(content, Position::default())
}
