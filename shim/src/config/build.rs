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
use super::values::{self, Parsed};
use super::{Config, ConfigError, Document, Flags, Layers, Mode, Strings, Value};

/// What loading found.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, ConfigError>,
    /// What works but is probably not meant, such as an unknown key.
    pub warnings: Vec<String>,
    /// Every value with its origin, also when some are mistaken.
    pub layers: Layers,
}

/// Lays defaults, file, environment and flags over one another and checks the result. Touches no environment but
/// `strings`, and no files but those that `*_FILE` keys name.
#[must_use]
pub fn load(strings: &dyn Strings, flags: &Flags, document: Option<&Document>) -> Loaded {
    let mut layers = Layers::lay(strings, flags, document);
    let mut mistakes = std::mem::take(&mut layers.mistakes);
    let mode = mode(&layers, strings, &mut mistakes);
    layers.fill_defaults(mode);
    let mut reader = Reader::new(&layers, mistakes);
    let config = reader.config(mode);
    let config = match config {
        Some(mut config) if reader.mistakes.is_empty() => {
            config.functions.inherited = super::functions::inherited(strings);
            Ok(config)
        }
        _ => Err(ConfigError { mistakes: reader.mistakes }),
    };
    let mut warnings = std::mem::take(&mut layers.warnings);
    warnings.extend(unused(&layers, mode, strings).into_iter().map(str::to_owned));
    Loaded { config, warnings, layers }
}

/// Values that somebody gave and that change nothing.
fn unused(layers: &Layers, mode: Mode, strings: &dyn Strings) -> Vec<&'static str> {
    let mut unused = Vec::new();
    if mode == Mode::Embedded && layers.value("redis.url").is_some() {
        unused.push("REDIS_URL is set but unused: embedded mode keeps everything in its data directory");
    }
    let log = layers.value("storage.log").map(|(value, _)| value.to_string());
    if layers.value("postgres.url").is_some() && log.as_deref() != Some("postgres") {
        unused.push("DATABASE_URL is set but unused: messages are kept in PostgreSQL when storage.log is postgres");
    }
    // Not a key: pod templates that are shared with other programs set it.
    if strings.text("OTEL_EXPORTER_OTLP_ENDPOINT").is_some_and(|text| !text.is_empty()) {
        unused.push("OTEL_EXPORTER_OTLP_ENDPOINT is set but unused: this build exports no traces");
    }
    unused
}

/// The mode decides other keys' defaults, so it is read first; a mistaken one is reported and detected instead.
fn mode(layers: &Layers, strings: &dyn Strings, mistakes: &mut Vec<String>) -> Mode {
    let detected = || {
        let present = |name| strings.text(name).is_some_and(|text| !text.is_empty());
        match () {
            () if present("AWS_LAMBDA_FUNCTION_NAME") => Mode::Aws,
            () if present("KUBERNETES_SERVICE_HOST") => Mode::Kubernetes,
            () => Mode::Embedded,
        }
    };
    let modes = [Mode::Aws, Mode::Kubernetes, Mode::Embedded].map(|mode| (mode.as_str(), mode));
    let mut reader = Reader::new(layers, std::mem::take(mistakes));
    let given = reader.optional("mode", |value| values::choice(value, &modes));
    *mistakes = reader.mistakes;
    given.flatten().unwrap_or_else(detected)
}

struct Reader<'a> {
    layers: &'a Layers,
    mistakes: Vec<String>,
    /// The path of every key that was read.
    #[cfg(test)]
    read: std::collections::BTreeSet<&'static str>,
}

impl<'a> Reader<'a> {
    const fn new(layers: &'a Layers, mistakes: Vec<String>) -> Self {
        Self {
            layers,
            mistakes,
            #[cfg(test)]
            read: std::collections::BTreeSet::new(),
        }
    }

    /// `None` for a mistake, which is noted; `Some(None)` for a key that nobody gave.
    fn optional<T>(&mut self, path: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<Option<T>> {
        #[cfg(test)]
        self.read.insert(path);
        let Some((value, origin)) = self.layers.value(path) else { return Some(None) };
        parse(value)
            .map(Some)
            .map_err(|rule| {
                let hidden = keys::find(path).is_none_or(|key| key.secret);
                let shown = if hidden { String::new() } else { format!(" = {:?}", value.to_string()) };
                self.mistakes.push(format!("{path}{shown} ({origin}): {rule}"));
            })
            .ok()
    }

    /// A key that has a default. `None` for a mistake, which is noted.
    fn read<T>(&mut self, path: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let value = self.optional(path, parse)?;
        if value.is_none() {
            self.mistakes.push(format!("{path}: has no value"));
        }
        value
    }

    fn mistake(&mut self, text: &str) {
        self.mistakes.push(text.to_owned());
    }

    fn config(&mut self, mode: Mode) -> Option<Config> {
        let server = self.server();
        let api = self.api();
        let throttle = self.throttle();
        let session = self.session();
        let functions = self.functions();
        let auth = self.auth(mode);
        let iam = self.iam();
        let storage = self.storage();
        let cluster = self.cluster();
        let drain = self.drain(mode);
        let logging = self.logging();
        let redis = self.redis();
        let postgres = self.postgres();
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
        for mode in [Mode::Aws, Mode::Kubernetes, Mode::Embedded] {
            let mut layers = Layers::lay(&environment(), &Flags::default(), None);
            layers.fill_defaults(mode);
            let mut reader = Reader::new(&layers, Vec::new());
            reader.config(mode);
            // The mode is read before everything else, because it decides defaults.
            let read: BTreeSet<_> = reader.read.into_iter().chain(["mode"]).collect();
            let keys: BTreeSet<_> = keys::KEYS.iter().map(|key| key.path).collect();
            let (unread, unknown) = (keys.difference(&read), read.difference(&keys));
            assert_eq!((unread.collect(), unknown.collect()), (Vec::<&&str>::new(), Vec::<&&str>::new()), "{mode:?}");
        }
    }
}
