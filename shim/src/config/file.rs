//! Reader of `twinway.toml`, which flattens the tables to key paths.
//!
//! Numbers and booleans become text as in the environment, so that both sources share one parser.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Table;

use super::keys::KEYS;
use super::{CONFIG_FILE_VARIABLE, ConfigError, ConfigValue, VariableSource};

/// File that is read if no path is configured.
const DEFAULT_PATH: &str = "twinway.toml";

/// A configuration file and its text.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub path: PathBuf,
    pub text: String,
}

impl ConfigFile {
    /// Reads the configuration file: the path in `flag` (`--config`) or in `TWINWAY_CONFIG`, otherwise `twinway.toml`
    /// in the working directory. Returns `None` if the latter does not exist.
    ///
    /// # Errors
    /// [`ConfigError`] if the file cannot be read.
    pub fn find(flag: Option<&Path>, variables: &dyn VariableSource) -> Result<Option<Self>, ConfigError> {
        let variable =
            || variables.read_variable(CONFIG_FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let configured = flag.map(Path::to_owned).or_else(variable);
        let path = configured.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_PATH));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self { path, text })),
            Err(error) if configured.is_none() && error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let path = path.display();
                let error =
                    format!("the configuration file {path} cannot be read: {error}; set another path with --config");
                Err(ConfigError { errors: vec![error] })
            }
        }
    }

    /// Returns the values by key path, or an error text if the file is not valid TOML.
    pub(super) fn parse_entries(&self) -> Result<BTreeMap<String, ConfigValue>, String> {
        let table: Table = self
            .text
            .parse()
            .map_err(|error| format!("{} is not valid TOML: {}", self.path.display(), self.describe(&error)))?;
        let mut entries = BTreeMap::new();
        flatten_table("", &table, &mut entries);
        Ok(entries)
    }

    /// Returns position and text of an error, without the line of the file, which may contain a secret.
    fn describe(&self, error: &toml::de::Error) -> String {
        let before = error.span().and_then(|span| self.text.get(..span.start)).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("line {}, column {column}: {}", before.matches('\n').count() + 1, error.message())
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
