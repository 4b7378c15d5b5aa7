//! Conversion of [`ConfigSources`] into a [`Config`].
//!
//! All keys of a section are read before the first error ends it, so that one run reports all errors.

mod access;
mod auth;
mod functions;
mod postgres;
mod proxies;
mod redis;
mod sections;
mod tls;
mod warnings;

use super::keys;
use super::values::{self, ParseResult};
use super::{Config, ConfigError, ConfigFile, ConfigSources, ConfigValue, DeploymentMode, FlagValues, VariableSource};

/// Result of [`load_config`].
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration, or all its errors.
    pub config: Result<Config, ConfigError>,
    /// Probable errors that do not prevent a start, such as an unknown key.
    pub warnings: Vec<String>,
    /// Every value with its origin, including invalid ones.
    pub sources: ConfigSources,
}

/// Merges defaults, file, environment and flags, and validates the result. Reads no environment variables other than
/// `variables`, and no files other than those of `*_FILE` keys.
#[must_use]
pub fn load_config(variables: &dyn VariableSource, flags: &FlagValues, file: Option<&ConfigFile>) -> LoadedConfig {
    let mut sources = ConfigSources::collect_sources(variables, flags, file);
    let mut errors = std::mem::take(&mut sources.errors);
    let mode = read_mode(&sources, variables, &mut errors);
    sources.fill_defaults(mode);
    let mut reader = ConfigReader::new(&sources, errors);
    let config = reader.read_config(mode);
    let config = match config {
        Some(mut config) if reader.errors.is_empty() => {
            config.functions.inherited_environment = super::functions::inherited_variables(variables);
            if config.functions.template.is_some() {
                config.functions.template_environment = super::functions::template_variables(variables);
            }
            config.functions.library_path = variables.read_variable("LD_LIBRARY_PATH");
            Ok(config)
        }
        _ => Err(ConfigError { errors: reader.errors }),
    };
    let mut warnings = std::mem::take(&mut sources.warnings);
    warnings.extend(warnings::setting_warnings(config.as_ref().ok(), &sources, mode, variables));
    LoadedConfig { config, warnings, sources }
}

impl Config {
    /// Returns the notice of `twinway config check` about web origins, if it applies.
    #[must_use]
    pub fn origin_notice(&self) -> Option<&'static str> {
        warnings::origin_notice(self)
    }
}

/// Reads the mode before all other keys, because it selects their defaults. If the value is invalid, adds an error and
/// returns the detected mode.
fn read_mode(sources: &ConfigSources, variables: &dyn VariableSource, errors: &mut Vec<String>) -> DeploymentMode {
    let detected = || {
        let present = |name| variables.read_variable(name).is_some_and(|text| !text.is_empty());
        match () {
            () if present("AWS_LAMBDA_FUNCTION_NAME") => DeploymentMode::Aws,
            () if present("KUBERNETES_SERVICE_HOST") => DeploymentMode::Kubernetes,
            () => DeploymentMode::Embedded,
        }
    };
    let modes =
        [DeploymentMode::Aws, DeploymentMode::Kubernetes, DeploymentMode::Embedded].map(|mode| (mode.as_str(), mode));
    let mut reader = ConfigReader::new(sources, std::mem::take(errors));
    let mode = reader.read_optional("mode", |value| values::parse_choice(value, &modes));
    *errors = reader.errors;
    mode.flatten().unwrap_or_else(detected)
}

struct ConfigReader<'a> {
    sources: &'a ConfigSources,
    errors: Vec<String>,
    /// Paths of all keys read so far.
    #[cfg(test)]
    read: std::collections::BTreeSet<&'static str>,
}

impl<'a> ConfigReader<'a> {
    const fn new(sources: &'a ConfigSources, errors: Vec<String>) -> Self {
        Self {
            sources,
            errors,
            #[cfg(test)]
            read: std::collections::BTreeSet::new(),
        }
    }

    /// Returns `Some(None)` for a key that is not set, and `None` for an invalid value, whose error is added.
    fn read_optional<T>(
        &mut self,
        path: &'static str,
        parse: impl Fn(&ConfigValue) -> ParseResult<T>,
    ) -> Option<Option<T>> {
        #[cfg(test)]
        self.read.insert(path);
        let Some((value, origin)) = self.sources.find_value(path) else { return Some(None) };
        parse(value)
            .map(Some)
            .map_err(|rule| {
                let hidden = keys::find_key(path).is_none_or(|key| key.secret);
                let shown = if hidden { String::new() } else { format!(" = {:?}", value.to_string()) };
                let error = format!("{path}{shown} ({origin}): {rule}");
                // A shared key is read once per section that uses it.
                if !self.errors.contains(&error) {
                    self.errors.push(error);
                }
            })
            .ok()
    }

    /// Reads a key that has a default. Returns `None` for an invalid value, whose error is added.
    fn read_required<T>(&mut self, path: &'static str, parse: impl Fn(&ConfigValue) -> ParseResult<T>) -> Option<T> {
        let value = self.read_optional(path, parse)?;
        if value.is_none() {
            self.errors.push(format!("{path}: no value is set"));
        }
        value
    }

    fn add_error(&mut self, text: &str) {
        self.errors.push(text.to_owned());
    }

    fn read_config(&mut self, mode: DeploymentMode) -> Option<Config> {
        let server = self.read_server();
        let functions = self.read_functions();
        let api = self.read_api(functions.as_ref());
        let throttle = self.read_throttle();
        let session = self.read_session(api.as_ref());
        let auth = self.read_auth(mode, functions.as_ref());
        let iam = self.read_iam_credentials();
        let function_credentials = self.read_function_credentials();
        let storage = self.read_storage();
        let cluster = self.read_cluster(storage.as_ref());
        let drain = self.read_drain(mode);
        let logging = self.read_logging();
        let redis = self.read_redis();
        let postgres = self.read_postgres();
        let limits = self.read_limits();
        self.check_access(api.as_ref());
        self.check_storage(mode, storage.as_ref(), postgres.as_ref());
        Some(Config {
            mode,
            server: server?,
            api: api?,
            throttle: throttle?,
            session: session?,
            functions: functions?,
            auth: auth?,
            iam: iam?,
            function_credentials: function_credentials?,
            storage: storage?,
            cluster: cluster?,
            drain: drain?,
            logging: logging?,
            redis: redis?,
            postgres: postgres?,
            limits: limits?,
            application: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Sets the address of each server, so that the keys of its section are used.
    fn environment() -> BTreeMap<String, String> {
        let variables = [("REDIS_URL", "redis://redis:6379"), ("DATABASE_URL", "postgres://me@db/messages")];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn every_key_is_read_in_every_mode_and_no_other_path_is() {
        for mode in [DeploymentMode::Aws, DeploymentMode::Kubernetes, DeploymentMode::Embedded] {
            let mut sources = ConfigSources::collect_sources(&environment(), &FlagValues::default(), None);
            sources.fill_defaults(mode);
            let mut reader = ConfigReader::new(&sources, Vec::new());
            reader.read_config(mode);
            // `read_mode` reads the mode before all other keys.
            let read: BTreeSet<_> = reader.read.into_iter().chain(["mode"]).collect();
            let keys: BTreeSet<_> = keys::KEYS.iter().map(|key| key.path).collect();
            let (unread, unknown) = (keys.difference(&read), read.difference(&keys));
            assert_eq!((unread.collect(), unknown.collect()), (Vec::<&&str>::new(), Vec::<&&str>::new()), "{mode:?}");
        }
    }
}
