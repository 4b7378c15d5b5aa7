//! Merge of the four sources of configuration: defaults, file, environment, flags.
//!
//! The result is unparsed text with its origin; `build` parses it. Unknown keys and variables cause warnings with the
//! nearest known name.

use std::collections::BTreeMap;
use std::fmt;

use super::DeploymentMode;
use super::file::ConfigFile;
use super::keys::{ConfigKey, KEYS};
use super::values::nearest_name;

/// Source of environment variables: the process environment, or a map in tests.
///
/// ```
/// use std::collections::BTreeMap;
///
/// use shim::config::{FlagValues, VariableSource, load_config};
///
/// let variables = BTreeMap::from([("AWS_REGION".to_owned(), "eu-central-1".to_owned())]);
/// assert_eq!(variables.read_variable("AWS_REGION").as_deref(), Some("eu-central-1"));
/// let config = load_config(&variables, &FlagValues::default(), None).config.unwrap();
/// assert_eq!(config.api.region, "eu-central-1");
/// ```
pub trait VariableSource {
    /// Returns the value of a variable, or `None` if it is not set.
    fn read_variable(&self, name: &str) -> Option<String>;
    /// Returns the names of all variables.
    fn variable_names(&self) -> Vec<String>;
}

/// Environment of the process.
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

/// Values of command line flags, by key path.
#[derive(Debug, Clone, Default)]
pub struct FlagValues(BTreeMap<&'static str, String>);

impl FlagValues {
    /// Returns flags with these key paths and values.
    #[must_use]
    pub fn new<V: Into<String>>(values: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        Self(values.into_iter().map(|(path, value)| (path, value.into())).collect())
    }

    /// Returns whether there is a value of the key.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Returns the flags with a further value, unless they have one of the key.
    #[must_use]
    pub fn with_default(&self, path: &'static str, value: &str) -> Self {
        let mut values = self.0.clone();
        values.entry(path).or_insert_with(|| value.to_owned());
        Self(values)
    }
}

/// An unparsed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigValue {
    /// Text, including numbers and booleans.
    Text(String),
    /// An array in the file.
    List(Vec<String>),
    /// A table in the file.
    Table(BTreeMap<String, String>),
}

/// Source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    Default,
    /// Derived from environment variables of the platform, such as `KUBERNETES_SERVICE_HOST`.
    Detected,
    /// Path of the configuration file.
    File(String),
    /// Name of the environment variable.
    Environment(String),
    /// Name of the flag, without dashes.
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

/// Unparsed values of all keys with their origins, and the warnings and errors of the merge.
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    values: BTreeMap<&'static str, (ConfigValue, ValueOrigin)>,
    /// Paths of the files whose content is a value.
    value_files: BTreeMap<&'static str, String>,
    pub(super) warnings: Vec<String>,
    pub(super) errors: Vec<String>,
}

impl ConfigSources {
    /// Merges file, environment and flags; later sources override earlier ones.
    pub(super) fn collect_sources(
        variables: &dyn VariableSource,
        flags: &FlagValues,
        file: Option<&ConfigFile>,
    ) -> Self {
        let mut sources = Self::default();
        if let Some(file) = file {
            sources.apply_file(file);
        }
        for key in KEYS {
            sources.apply_environment(key, variables);
            if let (Some(value), Some(flag)) = (flags.0.get(key.path), key.flag.or(Some(key.path))) {
                sources.values.insert(key.path, (ConfigValue::Text(value.clone()), ValueOrigin::Flag(flag)));
            }
        }
        sources.warn_unknown_variables(variables);
        sources
    }

    /// Returns the value of a key with its origin, or `None` if it is not set.
    #[must_use]
    pub fn find_value(&self, path: &str) -> Option<&(ConfigValue, ValueOrigin)> {
        self.values.get(path)
    }

    /// Returns whether a source other than the defaults sets the key.
    #[must_use]
    pub fn is_set(&self, path: &str) -> bool {
        self.find_value(path).is_some_and(|(_, origin)| *origin != ValueOrigin::Default)
    }

    /// Returns the keys whose value is the content of a file, with the path of the file; for keys in the configuration
    /// file, its path.
    pub(super) fn value_files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let inline = self.values.iter().filter_map(|(key, (_, origin))| match origin {
            ValueOrigin::File(path) if !self.value_files.contains_key(key) => Some((*key, path.as_str())),
            _ => None,
        });
        self.value_files.iter().map(|(key, path)| (*key, path.as_str())).chain(inline)
    }

    /// Sets the defaults of `mode` for all keys that are not set.
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

    fn apply_file(&mut self, file: &ConfigFile) {
        let mut entries = match file.parse_entries() {
            Ok(entries) => entries,
            Err(error) => return self.errors.push(error),
        };
        for key in KEYS {
            let origin = ValueOrigin::File(file.path.display().to_string());
            let inline = entries.remove(key.path);
            let value_file = key.accepts_file.then(|| entries.remove(&format!("{}_file", key.path))).flatten();
            self.apply_value_or_file(
                key,
                inline.map(|value| (value, origin.clone())),
                value_file.map(|value| (value, origin)),
            );
        }
        for unknown in entries.keys() {
            let near = nearest_name(unknown, KEYS.iter().map(|key| key.path));
            self.warn_unknown(&format!("configuration key {unknown} in {}", file.path.display()), near);
        }
    }

    fn apply_environment(&mut self, key: &'static ConfigKey, variables: &dyn VariableSource) {
        let file_variable = format!("{}_FILE", key.env);
        // Compose files and shells set unset variables to the empty string.
        let variable = |name: &str| {
            let text = variables.read_variable(name).filter(|text| !text.is_empty())?;
            Some((ConfigValue::Text(text), ValueOrigin::Environment(name.to_owned())))
        };
        let value_file = if key.accepts_file { variable(&file_variable) } else { None };
        let inline = variable(key.env).or_else(|| key.alias.and_then(variable));
        self.apply_value_or_file(key, inline, value_file);
    }

    fn apply_value_or_file(
        &mut self,
        key: &'static ConfigKey,
        inline: Option<(ConfigValue, ValueOrigin)>,
        value_file: Option<(ConfigValue, ValueOrigin)>,
    ) {
        match (inline, value_file) {
            (None, None) => {}
            (Some(value), None) => drop(self.values.insert(key.path, value)),
            (Some((_, origin)), Some(_)) => {
                self.errors.push(format!("{} ({origin}): set both as a value and as a file; set only one", key.path));
            }
            (None, Some((value, origin))) => match std::fs::read_to_string(value.to_string()) {
                // Editors and `kubectl create secret` add a trailing line break that is not part of the secret.
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.value_files.insert(key.path, value.to_string());
                    self.values.insert(key.path, (ConfigValue::Text(text), origin));
                }
                Err(error) => {
                    self.errors.push(format!("{} ({origin}): the file {value} cannot be read: {error}", key.path));
                }
            },
        }
    }

    fn warn_unknown_variables(&mut self, variables: &dyn VariableSource) {
        let known: Vec<_> = KEYS
            .iter()
            .flat_map(|key| [Some(key.env.to_owned()), key.accepts_file.then(|| format!("{}_FILE", key.env))])
            .flatten()
            .chain([CONFIG_FILE_VARIABLE.to_owned()])
            .collect();
        for name in variables.variable_names() {
            if name.starts_with("TWINWAY_") && !is_service_link(&name) && !known.contains(&name) {
                let near = nearest_name(&name, known.iter().map(String::as_str));
                self.warn_unknown(&format!("environment variable {name}"), near);
            }
        }
    }

    fn warn_unknown(&mut self, subject: &str, near: Option<&str>) {
        let hint = near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        self.warnings.push(format!("unknown {subject} is ignored{hint}"));
    }
}

/// Environment variable with the path of the configuration file.
pub const CONFIG_FILE_VARIABLE: &str = "TWINWAY_CONFIG";

/// Returns whether Kubernetes sets the variable: it does so in every pod of a namespace with a Service called `twinway`
/// ("Accessing the Service", Kubernetes documentation).
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}
