//! The four layers, laid over one another: defaults, file, environment, flags.
//!
//! What comes out is text with its origin; what it means is decided in `build`. Keys that nobody knows become warnings
//! here, with the nearest name that exists.

use std::collections::BTreeMap;
use std::fmt;

use super::Mode;
use super::file::Document;
use super::keys::{KEYS, Key};
use super::values::nearest;

/// Named texts: the environment, or a map in tests.
pub trait Strings {
    /// The text of that name, `None` when there is none.
    fn text(&self, name: &str) -> Option<String>;
    /// All names.
    fn names(&self) -> Vec<String>;
}

/// The process's environment, the only place where it is read.
#[derive(Debug, Clone, Copy)]
pub struct Environment;

impl Strings for Environment {
    fn text(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }
}

impl Strings for BTreeMap<String, String> {
    fn text(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}

/// What flags said, by key path.
#[derive(Debug, Clone, Default)]
pub struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// Flags of these key paths and values.
    #[must_use]
    pub fn new<V: Into<String>>(values: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        Self(values.into_iter().map(|(path, value)| (path, value.into())).collect())
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One text; numbers and booleans too.
    Text(String),
    /// An array of the file.
    List(Vec<String>),
    /// A table of the file.
    Table(BTreeMap<String, String>),
}

/// Which layer a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
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

impl fmt::Display for Origin {
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

impl fmt::Display for Value {
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
pub struct Layers {
    values: BTreeMap<&'static str, (Value, Origin)>,
    pub(super) warnings: Vec<String>,
    pub(super) mistakes: Vec<String>,
}

impl Layers {
    /// Lays the layers over one another; `document` is the file, already read.
    pub(super) fn lay(strings: &dyn Strings, flags: &Flags, document: Option<&Document>) -> Self {
        let mut layers = Self::default();
        if let Some(document) = document {
            layers.lay_file(document);
        }
        for key in KEYS {
            layers.lay_environment(key, strings);
            if let (Some(value), Some(flag)) = (flags.0.get(key.path), key.flag.or(Some(key.path))) {
                layers.values.insert(key.path, (Value::Text(value.clone()), Origin::Flag(flag)));
            }
        }
        layers.warn_of_unknown_variables(strings);
        layers
    }

    /// What was given for a key, and by whom.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<&(Value, Origin)> {
        self.values.get(path)
    }

    /// Fills in what nobody gave, once the mode is known.
    pub(super) fn fill_defaults(&mut self, mode: Mode) {
        self.values.entry("mode").or_insert_with(|| (Value::Text(mode.as_str().to_owned()), Origin::Detected));
        for key in KEYS {
            if let Some(default) = key.default.within(mode) {
                self.values.entry(key.path).or_insert_with(|| (Value::Text(default.to_owned()), Origin::Default));
            }
        }
    }

    fn lay_file(&mut self, document: &Document) {
        let mut entries = match document.entries() {
            Ok(entries) => entries,
            Err(mistake) => return self.mistakes.push(mistake),
        };
        for key in KEYS {
            let origin = Origin::File(document.path.display().to_string());
            let inline = entries.remove(key.path);
            let named = key.file.then(|| entries.remove(&format!("{}_file", key.path))).flatten();
            self.lay_either(key, inline.map(|value| (value, origin.clone())), named.map(|value| (value, origin)));
        }
        for unknown in entries.keys() {
            let near = nearest(unknown, KEYS.iter().map(|key| key.path));
            self.warn_of_unknown(&format!("key {unknown} in {}", document.path.display()), near);
        }
    }

    fn lay_environment(&mut self, key: &'static Key, strings: &dyn Strings) {
        let file_name = format!("{}_FILE", key.env);
        // An empty variable is how compose files and shells say "not set".
        let variable = |name: &str| {
            let text = strings.text(name).filter(|text| !text.is_empty())?;
            Some((Value::Text(text), Origin::Environment(name.to_owned())))
        };
        let named = if key.file { variable(&file_name) } else { None };
        self.lay_either(key, variable(key.env), named);
    }

    fn lay_either(&mut self, key: &'static Key, inline: Option<(Value, Origin)>, named: Option<(Value, Origin)>) {
        match (inline, named) {
            (None, None) => {}
            (Some(value), None) => drop(self.values.insert(key.path, value)),
            (Some((_, origin)), Some(_)) => {
                self.mistakes.push(format!("{} ({origin}): given as a value and as a file; keep one", key.path));
            }
            (None, Some((value, origin))) => match std::fs::read_to_string(value.to_string()) {
                // Editors and `kubectl create secret` leave a line end behind that is not part of the secret.
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']).to_owned();
                    self.values.insert(key.path, (Value::Text(text), origin));
                }
                Err(error) => {
                    self.mistakes.push(format!("{} ({origin}): the file {value} cannot be read: {error}", key.path));
                }
            },
        }
    }

    fn warn_of_unknown_variables(&mut self, strings: &dyn Strings) {
        let known: Vec<_> = KEYS
            .iter()
            .flat_map(|key| [Some(key.env.to_owned()), key.file.then(|| format!("{}_FILE", key.env))])
            .flatten()
            .chain([CONFIG_VARIABLE.to_owned()])
            .collect();
        for name in strings.names() {
            if name.starts_with("TWINWAY_") && !is_service_link(&name) && !known.contains(&name) {
                let near = nearest(&name, known.iter().map(String::as_str));
                self.warn_of_unknown(&format!("environment variable {name}"), near);
            }
        }
    }

    fn warn_of_unknown(&mut self, what: &str, near: Option<&str>) {
        let hint = near.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        self.warnings.push(format!("unknown {what} is ignored{hint}"));
    }
}

/// The variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "TWINWAY_CONFIG";

/// Kubernetes sets such variables in every pod beside a Service called `twinway` ("Accessing the Service", Kubernetes
/// documentation); they are nobody's mistake.
fn is_service_link(name: &str) -> bool {
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}
