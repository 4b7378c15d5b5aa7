//! The four layers, laid over one another: defaults, file, environment, flags.
//!
//! What comes out is text with its origin; what it means is decided in `build`. Keys that nobody knows become warnings
//! here, with the nearest name that exists.

use std::collections::BTreeMap;
use std::fmt;

use super::DeploymentMode;
use super::file::ConfigFile;
use super::keys::{ConfigKey, KEYS};
use super::values::nearest_name;

/// Named texts: the environment, or a map in tests.
pub trait VariableSource {
    /// The text of that name, `None` when there is none.
    fn read_variable(&self, name: &str) -> Option<String>;
    /// All names.
    fn variable_names(&self) -> Vec<String>;
}

/// The process's environment, the only place where it is read.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl VariableSource for ProcessEnvironment {
    fn read_variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn variable_names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }
}

impl VariableSource for BTreeMap<String, String> {
    fn read_variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn variable_names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// What flags said, by key path.
#[derive(Debug, Clone, Default)]
pub struct FlagValues(BTreeMap<&'static str, String>);

impl FlagValues {
    /// Flags of these key paths and values.
    #[must_use]
    pub fn new<V: Into<String>>(values: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        Self(values.into_iter().map(|(path, value)| (path, value.into())).collect())
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// One text; numbers and booleans too.
    Text(String),
    /// An array of the file.
    List(Vec<String>),
    /// A table of the file.
    Table(BTreeMap<String, String>),
}

/// Which layer a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// Nobody gave one.
    Default,
    /// Told from the environment's other variables.
    Detected,
    /// This file.
    File(String),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Detected => f.write_str("detected"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

impl fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
            Self::Table(pairs) => {
                let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

/// The values of all keys, with their origins, and what was odd about them.
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    values: BTreeMap<&'static str, (ConfigValue, ValueOrigin)>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<String>,
}

impl ConfigSources {
    /// Lays the layers over one another; `document` is the file, already read.
    pub(super) fn collect_sources(
        strings: &dyn VariableSource,
        flags: &FlagValues,
        document: Option<&ConfigFile>,
    ) -> Self {
        let mut layers = Self::default();
        if let Some(document) = document {
            layers.apply_file(document);
        }
        for key in KEYS {
            layers.apply_environment(key, strings);
            if let (Some(value), Some(flag)) = (flags.0.get(key.path), key.flag.or(Some(key.path))) {
                layers.values.insert(key.path, (ConfigValue::Text(value.clone()), ValueOrigin::Flag(flag)));
            }
        }
        layers.warn_unknown_variables(strings);
        layers
    }

    /// What was given for a key, and by whom.
    #[must_use]
    pub fn find_value(&self, path: &str) -> Option<&(ConfigValue, ValueOrigin)> {
        self.values.get(path)
    }

    /// Fills in what nobody gave, once the mode is known.
    pub(super) fn fill_defaults(&mut self, mode: DeploymentMode) {
        self.values
            .entry("mode")
            .or_insert_with(|| (ConfigValue::Text(mode.as_str().to_owned()), ValueOrigin::Detected));
        for key in KEYS {
            if let Some(default) = key.default.for_mode(mode) {
                self.values
                    .entry(key.path)
                    .or_insert_with(|| (ConfigValue::Text(default.to_owned()), ValueOrigin::Default));
            }
        }
    }

    fn apply_file(&mut self, document: &ConfigFile) {
        let mut entries = match document.parse_entries() {
            Ok(entries) => entries,
            Err(mistake) => return self.errors.push(mistake),
        };
        for key in KEYS {
            let origin = ValueOrigin::File(document.path.display().to_string());
            let inline = entries.remove(key.path);
            let named = key.accepts_file.then(|| entries.remove(&format!("{}_file", key.path))).flatten();
            self.apply_value_or_file(
                key,
                inline.map(|value| (value, origin.clone())),
                named.map(|value| (value, origin)),
            );
        }
        for unknown in entries.keys() {
            let near = nearest_name(unknown, KEYS.iter().map(|key| key.path));
            self.warn_unknown(&format!("configuration key {unknown} in {}", document.path.display()), near);
        }
    }

    fn apply_environment(&mut self, key: &'static ConfigKey, strings: &dyn VariableSource) {
        let file_name = format!("{}_FILE", key.env);
        // An empty variable is how compose files and shells say "not set".
        let variable = |name: &str| {
            let text = strings.read_variable(name).filter(|text| !text.is_empty())?;
            Some((ConfigValue::Text(text), ValueOrigin::Environment(name.to_owned())))
        };
        let named = if key.accepts_file { variable(&file_name) } else { None };
        self.apply_value_or_file(key, variable(key.env), named);
    }

    fn apply_value_or_file(
        &mut self,
        key: &'static ConfigKey,
        inline: Option<(ConfigValue, ValueOrigin)>,
        named: Option<(ConfigValue, ValueOrigin)>,
    ) {
        match (inline, named) {
            (None, None) => {}
            (Some(value), None) => drop(self.values.insert(key.path, value)),
            (Some((_, origin)), Some(_)) => {
                self.errors.push(format!("{} ({origin}): set both as a value and as a file; set only one", key.path));
            }
            (None, Some((value, origin))) => match std::fs::read_to_string(value.to_string()) {
                // Editors and `kubectl create secret` leave a line end behind that is not part of the secret.
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.values.insert(key.path, (ConfigValue::Text(text), origin));
                }
                Err(error) => {
                    self.errors.push(format!("{} ({origin}): the file {value} cannot be read: {error}", key.path));
                }
            },
        }
    }

    fn warn_unknown_variables(&mut self, strings: &dyn VariableSource) {
        let known: Vec<_> = KEYS
            .iter()
            .flat_map(|key| [Some(key.env.to_owned()), key.accepts_file.then(|| format!("{}_FILE", key.env))])
            .flatten()
            .chain([CONFIG_FILE_VARIABLE.to_owned()])
            .collect();
        for name in strings.variable_names() {
            if name.starts_with("TWINWAY_") && !is_service_link(&name) && !known.contains(&name) {
                let near = nearest_name(&name, known.iter().map(String::as_str));
                self.warn_unknown(&format!("environment variable {name}"), near);
            }
        }
    }

    fn warn_unknown(&mut self, what: &str, near: Option<&str>) {
        let hint = near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        self.warnings.push(format!("unknown {what} is ignored{hint}"));
    }
}

/// The variable that names the configuration file.
pub const CONFIG_FILE_VARIABLE: &str = "TWINWAY_CONFIG";

/// Kubernetes sets such variables in every pod beside a Service called `twinway` ("Accessing the Service", Kubernetes
/// documentation); they are nobody's mistake.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}
