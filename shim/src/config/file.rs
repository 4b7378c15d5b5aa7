//! `twinway.toml`: read, and flattened to key paths.
//!
//! Numbers and booleans become text, as in the environment, so that one parser decides about both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Table;

use super::Value;
use super::keys::KEYS;

/// A configuration file and its text.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Document {
    /// Reads a file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(Self { path: path.to_owned(), text: std::fs::read_to_string(path)? })
    }

    /// The file's values by key path, or why it is no TOML.
    pub(super) fn entries(&self) -> Result<BTreeMap<String, Value>, String> {
        let table: Table =
            self.text.parse().map_err(|error| format!("{} is not TOML: {error}", self.path.display()))?;
        let mut entries = BTreeMap::new();
        flatten("", &table, &mut entries);
        Ok(entries)
    }
}

fn flatten(prefix: &str, table: &Table, entries: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) if !KEYS.iter().any(|key| key.path == path) => flatten(&path, inner, entries),
            toml::Value::Table(inner) => {
                let pairs = inner.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
                entries.insert(path, Value::Table(pairs));
            }
            toml::Value::Array(items) => {
                entries.insert(path, Value::List(items.iter().map(scalar).collect()));
            }
            other => {
                entries.insert(path, Value::Text(scalar(other)));
            }
        }
    }
}

fn scalar(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
