//! Layers into a [`Config`]: every value parsed, every mistake collected.
//!
//! All keys of a section are read before the first failure counts, so that one run names all mistakes.

mod access;
mod auth;
mod functions;
mod postgres;
mod redis;
mod sections;

use super::keys;
use super::values::{self, ParseResult};
use super::{Config, ConfigError, ConfigFile, ConfigSources, ConfigValue, DeploymentMode, FlagValues, VariableSource};

/// What loading found.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, ConfigError>,
    /// What works but is probably not meant, such as an unknown key.
    pub warnings: Vec<String>,
    /// Every value with its origin, also when some are mistaken.
    pub sources: ConfigSources,
}

/// Lays defaults, file, environment and flags over one another and checks the result. Touches no environment but
/// `strings`, and no files but those that `*_FILE` keys name.
#[must_use]
pub fn load_config(strings: &dyn VariableSource, flags: &FlagValues, document: Option<&ConfigFile>) -> LoadedConfig {
    let mut layers = ConfigSources::collect_sources(strings, flags, document);
    let mut mistakes = std::mem::take(&mut layers.errors);
    let mode = read_mode(&layers, strings, &mut mistakes);
    layers.fill_defaults(mode);
    let mut reader = ConfigReader::new(&layers, mistakes);
    let config = reader.read_config(mode);
    let config = match config {
        Some(mut config) if reader.errors.is_empty() => {
            config.functions.inherited_environment = super::functions::inherited_variables(strings);
            Ok(config)
        }
        _ => Err(ConfigError { errors: reader.errors }),
    };
    let mut warnings = std::mem::take(&mut layers.warnings);
    warnings.extend(unused_values(&layers, mode, strings).into_iter().map(str::to_owned));
    LoadedConfig { config, warnings, sources: layers }
}

/// Values that somebody gave and that change nothing.
fn unused_values(layers: &ConfigSources, mode: DeploymentMode, strings: &dyn VariableSource) -> Vec<&'static str> {
    let mut unused = Vec::new();
    if mode == DeploymentMode::Embedded && layers.find_value("redis.url").is_some() {
        unused.push("REDIS_URL is set but unused: embedded mode stores all state in its data directory");
    }
    let log = layers.find_value("storage.log").map(|(value, _)| value.to_string());
    if layers.find_value("postgres.url").is_some() && log.as_deref() != Some("postgres") {
        unused.push("DATABASE_URL is set but unused: messages are stored in PostgreSQL only when storage.log is postgres");
    }
    // Not a key: pod templates that are shared with other programs set it.
    if strings.read_variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|text| !text.is_empty()) {
        unused.push("OTEL_EXPORTER_OTLP_ENDPOINT is set but unused: this build exports no traces");
    }
    unused
}

/// The mode decides other keys' defaults, so it is read first; a mistaken one is reported and detected instead.
fn read_mode(layers: &ConfigSources, strings: &dyn VariableSource, mistakes: &mut Vec<String>) -> DeploymentMode {
    let detected = || {
        let present = |name| strings.read_variable(name).is_some_and(|text| !text.is_empty());
        match () {
            () if present("AWS_LAMBDA_FUNCTION_NAME") => DeploymentMode::Aws,
            () if present("KUBERNETES_SERVICE_HOST") => DeploymentMode::Kubernetes,
            () => DeploymentMode::Embedded,
        }
    };
    let modes =
        [DeploymentMode::Aws, DeploymentMode::Kubernetes, DeploymentMode::Embedded].map(|mode| (mode.as_str(), mode));
    let mut reader = ConfigReader::new(layers, std::mem::take(mistakes));
    let given = reader.read_optional("mode", |value| values::parse_choice(value, &modes));
    *mistakes = reader.errors;
    given.flatten().unwrap_or_else(detected)
}

struct ConfigReader<'a> {
    sources: &'a ConfigSources,
    errors: Vec<String>,
    /// The path of every key that was read.
    #[cfg(test)]
    read: std::collections::BTreeSet<&'static str>,
}

impl<'a> ConfigReader<'a> {
    const fn new(layers: &'a ConfigSources, mistakes: Vec<String>) -> Self {
        Self {
            sources: layers,
            errors: mistakes,
            #[cfg(test)]
            read: std::collections::BTreeSet::new(),
        }
    }

    /// `None` for a mistake, which is noted; `Some(None)` for a key that nobody gave.
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
                self.errors.push(format!("{path}{shown} ({origin}): {rule}"));
            })
            .ok()
    }

    /// A key that has a default. `None` for a mistake, which is noted.
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
        let api = self.read_api();
        let throttle = self.read_throttle();
        let session = self.read_session();
        let functions = self.read_functions();
        let auth = self.read_auth(mode);
        let iam = self.read_iam_credentials();
        let storage = self.read_storage();
        let cluster = self.read_cluster();
        let drain = self.read_drain(mode);
        let logging = self.read_logging();
        let redis = self.read_redis();
        let postgres = self.read_postgres();
        let limits = self.limits();
        self.check_access(server.as_ref(), api.as_ref());
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
            storage: storage?,
            cluster: cluster?,
            drain: drain?,
            logging: logging?,
            redis: redis?,
            postgres: postgres?,
            limits: limits?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// With an address of each server, so that the keys of its section matter.
    fn environment() -> BTreeMap<String, String> {
        let variables = [("REDIS_URL", "redis://redis:6379"), ("DATABASE_URL", "postgres://me@db/messages")];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn every_key_is_read_in_every_mode_and_no_other_path_is() {
        for mode in [DeploymentMode::Aws, DeploymentMode::Kubernetes, DeploymentMode::Embedded] {
            let mut layers = ConfigSources::collect_sources(&environment(), &FlagValues::default(), None);
            layers.fill_defaults(mode);
            let mut reader = ConfigReader::new(&layers, Vec::new());
            reader.read_config(mode);
            // The mode is read before everything else, because it decides defaults.
            let read: BTreeSet<_> = reader.read.into_iter().chain(["mode"]).collect();
            let keys: BTreeSet<_> = keys::KEYS.iter().map(|key| key.path).collect();
            let (unread, unknown) = (keys.difference(&read), read.difference(&keys));
            assert_eq!((unread.collect(), unknown.collect()), (Vec::<&&str>::new(), Vec::<&&str>::new()), "{mode:?}");
        }
    }
}
