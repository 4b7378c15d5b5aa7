//! `twinway.toml`: read, and flattened to key paths.
//!
//! Numbers and booleans become text, as in the environment, so that one parser decides about both.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Table;

use super::keys::KEYS;
use super::{CONFIG_VARIABLE, ConfigError, Strings, Value};

/// The file that is read when none is named.
const DEFAULT_PATH: &str = "twinway.toml";

/// A configuration file and its text.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl Document {
    /// Reads the configuration file: the one that `named` (`--config`) or `TWINWAY_CONFIG` names, otherwise `twinway.toml` of
    /// the working directory, which may be missing.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read.
    pub fn find(named: Option<&Path>, strings: &dyn Strings) -> Result<Option<Self>, ConfigError> {
        let variable = || strings.text(CONFIG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let named = named.map(Path::to_owned).or_else(variable);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let path = path.display();
                let mistake =
                    format!("the configuration file {path} cannot be read: {error}; name another one with --config");
                Err(ConfigError { mistakes: vec![mistake] })
            }
        }
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
