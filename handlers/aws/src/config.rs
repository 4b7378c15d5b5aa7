//! What a function is told by its environment, all mistakes at once.
//!
//! The names below are the deployment's side of the contract (CDK, SAM). Values of secrets are in no mistake's text and in
//! no `Debug` output. Nothing is read from the network here.

mod auth;

use std::fmt;
use std::time::Duration;

use handlers::api::ApiKeys;
use handlers::authorizer::TokenSettings;
use handlers::limits::Limits;
use http::Uri;

pub(crate) use self::auth::parse_api_keys;

/// The table of connections.
pub const CONNECTIONS_TABLE: &str = "TWINWAY_CONNECTIONS_TABLE";
/// The table of messages.
pub const MESSAGES_TABLE: &str = "TWINWAY_MESSAGES_TABLE";
/// Where `@connections` is, up to and including the stage: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
pub const MANAGEMENT_ENDPOINT: &str = "TWINWAY_MANAGEMENT_ENDPOINT";
/// How long a message is kept: `30d`, `12h`, `90m`, `60s`.
pub const RETENTION_AGE: &str = "TWINWAY_RETENTION_AGE";
/// The HS256 secret.
pub const AUTH_SECRET: &str = "TWINWAY_AUTH_SECRET";
/// Earlier HS256 secrets, separated by commas.
pub const AUTH_PREVIOUS_SECRETS: &str = "TWINWAY_AUTH_PREVIOUS_SECRETS";
/// A JSON Web Key Set.
pub const AUTH_JWKS: &str = "TWINWAY_AUTH_JWKS";
/// Where an identity provider publishes its JSON Web Key Set: `https://…`, or `http://` on loopback.
pub const AUTH_JWKS_URL: &str = "TWINWAY_AUTH_JWKS_URL";
/// The `iss` that tokens must have.
pub const AUTH_ISSUER: &str = "TWINWAY_AUTH_ISSUER";
/// The `aud` that tokens must have.
pub const AUTH_AUDIENCE: &str = "TWINWAY_AUTH_AUDIENCE";
/// How far the issuer's clock may be off.
pub const AUTH_LEEWAY: &str = "TWINWAY_AUTH_LEEWAY";
/// Keys of backends, `name:tenant:key`, separated by commas.
pub const AUTH_API_KEYS: &str = "TWINWAY_AUTH_API_KEYS";
/// Secrets of Secrets Manager that hold HS256 secrets: their ARNs, separated by commas.
pub const AUTH_SECRET_ARN: &str = "TWINWAY_AUTH_SECRET_ARN";
/// A secret of Secrets Manager that holds what [`AUTH_API_KEYS`] would: its ARN.
pub const AUTH_API_KEYS_ARN: &str = "TWINWAY_AUTH_API_KEYS_ARN";

/// As long as the shim keeps messages unless it is told otherwise.
const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Less than this would let entries expire while they are still being delivered and resumed.
const MIN_RETENTION: Duration = Duration::from_secs(60 * 60);
/// As the shim's.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// Where texts come from: the environment, or a test's table.
pub type EnvironmentLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the functions that have effects need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    /// [`CONNECTIONS_TABLE`].
    pub connections_table: String,
    /// [`MESSAGES_TABLE`].
    pub messages_table: String,
    /// [`MANAGEMENT_ENDPOINT`], without a slash at its end.
    pub management_endpoint: String,
    /// [`RETENTION_AGE`].
    pub retention: Duration,
    /// `TWINWAY_LIMITS_…` ([`Limits::KEYS`]).
    pub limits: Limits,
}

/// What verifies callers.
pub struct VerifierConfig {
    /// For tokens, as far as the environment has the keys.
    pub tokens: TokenSettings,
    /// Where the identity provider's keys are.
    pub jwks_url: Option<Uri>,
    /// Where HS256 secrets are: ARNs of Secrets Manager.
    pub secret_arns: Vec<String>,
    /// For the HTTP API's keys.
    pub api_keys: ApiKeys,
    /// Where those are instead.
    pub api_keys_arn: Option<String>,
}

/// Everything that is wrong with an environment; one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentError(Vec<String>);

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the function's environment has {} mistake(s): {}", self.0.len(), self.0.join("; "))
    }
}

impl std::error::Error for EnvironmentError {}

/// The process's environment.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads what a function with effects needs and, when it identifies callers itself, [`VerifierConfig`] as well.
///
/// # Errors
/// [`EnvironmentError`], all of them.
pub fn read_app_config(source: EnvironmentLookup<'_>) -> Result<AppConfig, EnvironmentError> {
    let mut reader = EnvironmentReader::new(source);
    let stores = reader.app_config();
    reader.into_result(stores)
}

/// Reads what verifies callers.
///
/// # Errors
/// [`EnvironmentError`], all of them.
pub fn read_verifier_config(source: EnvironmentLookup<'_>) -> Result<VerifierConfig, EnvironmentError> {
    let mut reader = EnvironmentReader::new(source);
    let auth = reader.verifier_config();
    reader.into_result(auth)
}

/// Reads both.
///
/// # Errors
/// [`EnvironmentError`], those of both.
pub fn read_app_and_verifier_config(
    source: EnvironmentLookup<'_>,
) -> Result<(AppConfig, VerifierConfig), EnvironmentError> {
    let mut reader = EnvironmentReader::new(source);
    let both = (reader.app_config(), reader.verifier_config());
    reader.into_result(both.0.zip(both.1))
}

struct EnvironmentReader<'a> {
    source: EnvironmentLookup<'a>,
    errors: Vec<String>,
}

impl<'a> EnvironmentReader<'a> {
    const fn new(source: EnvironmentLookup<'a>) -> Self {
        Self { source, errors: Vec::new() }
    }

    fn into_result<T>(self, value: Option<T>) -> Result<T, EnvironmentError> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(EnvironmentError(self.errors)),
        }
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        (self.source)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn record_error<T>(&mut self, name: &str, what: impl fmt::Display) -> Option<T> {
        self.errors.push(format!("{name} {what}"));
        None
    }

    fn required_text(&mut self, name: &str, what: &str) -> Option<String> {
        self.optional_text(name).or_else(|| self.record_error(name, format_args!("is missing: {what}")))
    }

    fn app_config(&mut self) -> Option<AppConfig> {
        let connections_table = self.required_text(CONNECTIONS_TABLE, "the name of the DynamoDB table of connections");
        let messages_table = self.required_text(MESSAGES_TABLE, "the name of the DynamoDB table of messages");
        let management_endpoint = self.management_endpoint();
        let retention = self.duration_or(RETENTION_AGE, DEFAULT_RETENTION);
        if retention.is_some_and(|retention| retention < MIN_RETENTION) {
            let _: Option<()> = self.record_error(RETENTION_AGE, "must be 1h or more");
        }
        let limits = self.limits();
        Some(AppConfig {
            connections_table: connections_table?,
            messages_table: messages_table?,
            management_endpoint: management_endpoint?,
            retention: retention?,
            limits: limits?,
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let mut limits = Limits::default();
        let mut valid = true;
        for key in Limits::KEYS {
            let Some(text) = self.optional_text(key.env) else { continue };
            if let Err(rule) = limits.set(key.path, &text) {
                valid = self.record_error(key.env, rule).unwrap_or(false);
            }
        }
        valid.then_some(limits)
    }

    fn management_endpoint(&mut self) -> Option<String> {
        const ENDPOINT_FORMAT: &str = "https://{api}.execute-api.{region}.amazonaws.com/{stage}";
        let text = self.required_text(MANAGEMENT_ENDPOINT, ENDPOINT_FORMAT)?;
        let uri = text.parse::<http::Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            return self
                .record_error(MANAGEMENT_ENDPOINT, format_args!("must be an address such as {ENDPOINT_FORMAT}"));
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn duration_or(&mut self, name: &str, default: Duration) -> Option<Duration> {
        let Some(text) = self.optional_text(name) else { return Some(default) };
        let parsed = humantime::parse_duration(&text).ok();
        parsed.or_else(|| self.record_error(name, "must be a duration with a unit: 60s, 90m, 12h or 30d"))
    }
}

#[cfg(test)]
mod tests;
