//! `twinway.toml`: read, and flattened to key paths.
//!
//! Numbers and booleans become text, as in the environment, so that one parser decides about both.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Table;

use super::keys::KEYS;
use super::{CONFIG_FILE_VARIABLE, ConfigError, ConfigValue, VariableSource};

/// The file that is read when none is named.
const DEFAULT_PATH: &str = "twinway.toml";

/// A configuration file and its text.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

impl ConfigFile {
    /// Reads the configuration file: the one that `named` (`--config`) or `TWINWAY_CONFIG` names, otherwise `twinway.toml` of
    /// the working directory, which may be missing.
    ///
    /// # Errors
    /// [`ConfigError`]: the file cannot be read.
    pub fn find(named: Option<&Path>, strings: &dyn VariableSource) -> Result<Option<Self>, ConfigError> {
        let variable =
            || strings.read_variable(CONFIG_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let named = named.map(Path::to_owned).or_else(variable);
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let path = path.display();
                let mistake =
                    format!("the configuration file {path} cannot be read: {error}; name another one with --config");
                Err(ConfigError { errors: vec![mistake] })
            }
        }
    }

    /// The file's values by key path, or why it is no TOML.
    pub(super) fn parse_entries(&self) -> Result<BTreeMap<String, ConfigValue>, String> {
        let table: Table =
            self.text.parse().map_err(|error| format!("{} is not valid TOML: {error}", self.path.display()))?;
        let mut entries = BTreeMap::new();
        flatten_table("", &table, &mut entries);
        Ok(entries)
    }
}

fn flatten_table(prefix: &str, table: &Table, entries: &mut BTreeMap<String, ConfigValue>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) if !KEYS.iter().any(|key| key.path == path) => {
                flatten_table(&path, inner, entries)
            }
            toml::Value::Table(inner) => {
                let pairs = inner.iter().map(|(name, value)| (name.clone(), scalar_text(value))).collect();
                entries.insert(path, ConfigValue::Table(pairs));
            }
            toml::Value::Array(items) => {
                entries.insert(path, ConfigValue::List(items.iter().map(scalar_text).collect()));
            }
            other => {
                entries.insert(path, ConfigValue::Text(scalar_text(other)));
            }
        }
    }
}

fn scalar_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
