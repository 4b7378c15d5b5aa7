//! Configuration of the Lambda functions from environment variables; all errors are reported together.
//!
//! The deployments (CDK app, SAM template) set these variables. Values of secrets appear neither in error texts nor in
//! `Debug` output. Reading the configuration makes no network call.

mod auth;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use handlers::api::ApiKeys;
use handlers::authorizer::TokenSettings;
use handlers::channel_policy::PresenceNames;
use handlers::config_value::parse_retention_age;
use handlers::limits::Limits;
use http::Uri;
use jwks::FetchSettings;

pub(crate) use self::auth::parse_api_keys;

/// Name of the table of connections.
pub const CONNECTIONS_TABLE: &str = "TWINWAY_CONNECTIONS_TABLE";
/// Name of the table of messages.
pub const MESSAGES_TABLE: &str = "TWINWAY_MESSAGES_TABLE";
/// Endpoint of the `@connections` API including the stage: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
pub const MANAGEMENT_ENDPOINT: &str = "TWINWAY_MANAGEMENT_ENDPOINT";
/// Maximum age of retained messages: `30d`, `12h`; default 30 days, at least one hour.
pub const RETENTION_AGE: &str = "TWINWAY_RETENTION_AGE";
/// HS256 secret that signs tokens.
pub const AUTH_SECRET: &str = "TWINWAY_AUTH_SECRET";
/// Earlier HS256 secrets, comma-separated.
pub const AUTH_PREVIOUS_SECRETS: &str = "TWINWAY_AUTH_PREVIOUS_SECRETS";
/// JSON Web Key Set (RFC 7517) as text.
pub const AUTH_JWKS: &str = "TWINWAY_AUTH_JWKS";
/// URL of an identity provider's JSON Web Key Set: `https://…`, or `http://…` for loopback.
pub const AUTH_JWKS_URL: &str = "TWINWAY_AUTH_JWKS_URL";
/// Accepted `iss` claims of tokens, comma-separated.
pub const AUTH_ISSUER: &str = "TWINWAY_AUTH_ISSUER";
/// Accepted audiences of tokens, comma-separated, or `*` for any. Required with [`AUTH_JWKS_URL`].
pub const AUTH_AUDIENCE: &str = "TWINWAY_AUTH_AUDIENCE";
/// CA certificates (PEM file) that verify the key set's server; default those of the system.
pub const AUTH_CA_FILE: &str = "TWINWAY_AUTH_CA_FILE";
/// Client certificate (PEM file) for the key set's server.
pub const AUTH_CLIENT_CERT_FILE: &str = "TWINWAY_AUTH_CLIENT_CERT_FILE";
/// Private key (PEM file) of the client certificate.
pub const AUTH_CLIENT_KEY_FILE: &str = "TWINWAY_AUTH_CLIENT_KEY_FILE";
/// Name in the certificate of the key set's server, if it is not the host of the URL.
pub const AUTH_SERVER_NAME: &str = "TWINWAY_AUTH_SERVER_NAME";
/// Longest accepted time until a token expires; default 366 days.
pub const AUTH_MAX_LIFETIME: &str = "TWINWAY_AUTH_MAX_LIFETIME";
/// Channels whose readers users may list by name: `rooms` or `all`; default `rooms`.
pub const AUTH_PRESENCE_NAMES: &str = "TWINWAY_AUTH_PRESENCE_NAMES";
/// Permitted clock difference between the token issuer and this function; default 30 seconds.
pub const AUTH_LEEWAY: &str = "TWINWAY_AUTH_LEEWAY";
/// API keys of backends, `name:tenant:key`, comma-separated.
pub const AUTH_API_KEYS: &str = "TWINWAY_AUTH_API_KEYS";
/// ARNs of Secrets Manager secrets that hold HS256 secrets, comma-separated.
pub const AUTH_SECRET_ARN: &str = "TWINWAY_AUTH_SECRET_ARN";
/// ARN of a Secrets Manager secret that holds API keys in the format of [`AUTH_API_KEYS`].
pub const AUTH_API_KEYS_ARN: &str = "TWINWAY_AUTH_API_KEYS_ARN";

/// Same default as the shim's.
const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Same default as the shim's.
const DEFAULT_LEEWAY: Duration = Duration::from_secs(30);

/// Same default as the shim's.
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Environment variables by name. Without `Debug`, because some values are secrets.
pub struct EnvironmentVariables(BTreeMap<String, String>);

/// Configuration of the functions that access the stores (`connect`, `disconnect`, `message`, `api`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    /// [`CONNECTIONS_TABLE`].
    pub connections_table: String,
    /// [`MESSAGES_TABLE`].
    pub messages_table: String,
    /// [`MANAGEMENT_ENDPOINT`] without a trailing slash.
    pub management_endpoint: String,
    /// [`RETENTION_AGE`].
    pub retention: Duration,
    /// `TWINWAY_LIMITS_…` ([`Limits::KEYS`]).
    pub limits: Limits,
    /// [`AUTH_PRESENCE_NAMES`].
    pub presence_names: PresenceNames,
}

/// Configuration of the verification of callers (`authorizer`, `api`).
pub struct VerifierConfig {
    /// Settings of the token verifier, with the keys that the environment holds.
    pub tokens: TokenSettings,
    /// [`AUTH_JWKS_URL`].
    pub jwks_url: Option<Uri>,
    /// Authorities, client certificate and proxy for fetching the key set.
    pub fetch: FetchSettings,
    /// [`AUTH_SECRET_ARN`].
    pub secret_arns: Vec<String>,
    /// [`AUTH_API_KEYS`].
    pub api_keys: ApiKeys,
    /// [`AUTH_API_KEYS_ARN`].
    pub api_keys_arn: Option<String>,
}

/// All errors of the environment, one text each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentError(Vec<String>);

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid environment, {} error(s): {}", self.0.len(), self.0.join("; "))
    }
}

impl std::error::Error for EnvironmentError {}

impl EnvironmentVariables {
    /// Reads the environment of the process. Variables that are not Unicode are omitted.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok())).collect()
    }

    /// Returns the value of a variable, or `None` if it is not set.
    #[must_use]
    pub fn find_value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for EnvironmentVariables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Reads the configuration of a function that accesses the stores.
///
/// # Errors
/// [`EnvironmentError`] with every missing or invalid variable.
pub fn read_app_config(environment: &EnvironmentVariables) -> Result<AppConfig, EnvironmentError> {
    let mut reader = EnvironmentReader::new(environment);
    let app_config = reader.app_config();
    reader.into_result(app_config)
}

/// Reads the configuration of the verification of callers.
///
/// # Errors
/// [`EnvironmentError`] with every missing or invalid variable.
pub fn read_verifier_config(environment: &EnvironmentVariables) -> Result<VerifierConfig, EnvironmentError> {
    let mut reader = EnvironmentReader::new(environment);
    let verifier_config = reader.verifier_config();
    reader.into_result(verifier_config)
}

/// Reads both configurations.
///
/// # Errors
/// [`EnvironmentError`] with every missing or invalid variable of both.
pub fn read_app_and_verifier_config(
    environment: &EnvironmentVariables,
) -> Result<(AppConfig, VerifierConfig), EnvironmentError> {
    let mut reader = EnvironmentReader::new(environment);
    let configs = (reader.app_config(), reader.verifier_config());
    reader.into_result(configs.0.zip(configs.1))
}

struct EnvironmentReader<'a> {
    environment: &'a EnvironmentVariables,
    errors: Vec<String>,
}

impl<'a> EnvironmentReader<'a> {
    const fn new(environment: &'a EnvironmentVariables) -> Self {
        Self { environment, errors: Vec::new() }
    }

    fn into_result<T>(self, value: Option<T>) -> Result<T, EnvironmentError> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(EnvironmentError(self.errors)),
        }
    }

    fn optional_text(&self, name: &str) -> Option<String> {
        self.environment.find_value(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn record_error<T>(&mut self, name: &str, problem: impl fmt::Display) -> Option<T> {
        self.errors.push(format!("{name} {problem}"));
        None
    }

    fn required_text(&mut self, name: &str, description: &str) -> Option<String> {
        self.optional_text(name).or_else(|| self.record_error(name, format_args!("is required: {description}")))
    }

    fn app_config(&mut self) -> Option<AppConfig> {
        let connections_table = self.required_text(CONNECTIONS_TABLE, "the name of the DynamoDB table of connections");
        let messages_table = self.required_text(MESSAGES_TABLE, "the name of the DynamoDB table of messages");
        let management_endpoint = self.management_endpoint();
        let retention = self.duration_or(RETENTION_AGE, DEFAULT_RETENTION, parse_retention_age);
        let limits = self.limits();
        let presence_names = self.presence_names();
        Some(AppConfig {
            connections_table: connections_table?,
            messages_table: messages_table?,
            management_endpoint: management_endpoint?,
            retention: retention?,
            limits: limits?,
            presence_names: presence_names?,
        })
    }

    fn limits(&mut self) -> Option<Limits> {
        let mut limits = Limits::default();
        let mut valid = true;
        for name in self.environment.0.keys() {
            if let Err(rule) = Limits::check_variable_name(name) {
                valid = self.record_error(name, rule).unwrap_or(false);
            }
        }
        for key in Limits::KEYS {
            let Some(text) = self.optional_text(key.env) else { continue };
            if let Err(rule) = limits.set(key.path, &text) {
                valid = self.record_error(key.env, rule).unwrap_or(false);
            }
        }
        valid.then_some(limits)
    }

    fn presence_names(&mut self) -> Option<PresenceNames> {
        let text = self.optional_text(AUTH_PRESENCE_NAMES);
        let parsed = text.map_or_else(|| Ok(PresenceNames::default()), |text| PresenceNames::parse(&text));
        parsed.map_or_else(|rule| self.record_error(AUTH_PRESENCE_NAMES, rule), Some)
    }

    fn management_endpoint(&mut self) -> Option<String> {
        const ENDPOINT_FORMAT: &str = "https://{api}.execute-api.{region}.amazonaws.com/{stage}";
        let text = self.required_text(MANAGEMENT_ENDPOINT, ENDPOINT_FORMAT)?;
        let uri = text.parse::<http::Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            return self.record_error(MANAGEMENT_ENDPOINT, format_args!("must be a URL of the form {ENDPOINT_FORMAT}"));
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn duration_or(
        &mut self,
        name: &str,
        default: Duration,
        parse: fn(&str) -> Result<Duration, String>,
    ) -> Option<Duration> {
        let Some(text) = self.optional_text(name) else { return Some(default) };
        parse(&text).map_or_else(|rule| self.record_error(name, rule), Some)
    }
}

#[cfg(test)]
mod tests;
