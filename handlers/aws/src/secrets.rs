//! Cache of secrets that a function reads from Secrets Manager, so that its configuration contains none.
//!
//! - The first event that needs the values triggers the read, with the timeout [`READ_TIMEOUT`].
//! - Cached values remain in use while Secrets Manager is unavailable.
//! - Clients cannot cause more than one read per [`MIN_READ_INTERVAL`].
//! - No error, log record or `Debug` output contains a value.
//!
//! A function handles one event at a time, so concurrent reads need no coordination.

mod keys;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError as ReadError;
use futures_util::future::try_join_all;
use handlers::ports::{BoxError, Clock, Timestamp};
use parking_lot::Mutex;

pub use self::keys::SecretKeys;

/// Timeout of one read of all values, including retries; a connecting client waits for it.
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Age at which values are read again: a revoked value is rejected after this time at the latest.
pub const SECRET_TTL: Duration = Duration::from_secs(5 * 60);
/// Minimum time between two reads once values are cached: a rotation takes effect after this time at the latest, and
/// invalid tokens cause at most one read in this time.
pub const MIN_READ_INTERVAL: Duration = Duration::from_secs(30);

/// Staging label of the previous version ("AWS Secrets Manager secret versions", user guide).
const PREVIOUS_STAGE: &str = "AWSPREVIOUS";

/// Versions of a secret that are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretVersions {
    /// Only the current version: a rotation invalidates the previous one.
    Current,
    /// The current and the previous version: a value stays valid until the second rotation after it.
    CurrentAndPrevious,
}

/// Error of reading secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager did not answer in time.
    #[error("reading secrets timed out after {READ_TIMEOUT:?}")]
    Timeout,
    /// The function's role lacks the permission.
    #[error("access to secret '{arn}' denied: the function's role needs 'secretsmanager:GetSecretValue' on it")]
    AccessDenied {
        /// ARN of the secret.
        arn: String,
        /// Error of Secrets Manager.
        #[source]
        source: BoxError,
    },
    /// Secrets Manager is unavailable or returned no text value.
    #[error("reading secret '{arn}' failed")]
    ReadFailed {
        /// ARN of the secret.
        arn: String,
        /// Error of Secrets Manager.
        #[source]
        source: BoxError,
    },
    /// A value is invalid.
    #[error("a value of secrets {arns:?} is invalid: {rule}")]
    InvalidValue {
        /// ARNs of the secrets, one of which has the value.
        arns: Vec<String>,
        /// Rule that the value violates.
        rule: String,
    },
}

type ParseValues<T> = Box<dyn Fn(&[String]) -> Result<T, String> + Send + Sync>;

/// Value parsed from some secrets, cached and refreshed.
pub struct CachedSecrets<T> {
    client: Client,
    arns: Vec<String>,
    versions: SecretVersions,
    parse: ParseValues<T>,
    clock: Arc<dyn Clock>,
    state: Mutex<SecretCacheState<T>>,
}

struct SecretCacheState<T> {
    value: Option<Arc<T>>,
    /// Time of the last read's end, and whether it succeeded.
    last_read: Option<(Timestamp, bool)>,
}

impl<T> CachedSecrets<T> {
    /// Creates a cache of the result of `parse` for the values of `arns`. Errors of `parse` are logged, so they must
    /// not contain a value.
    pub fn new(
        client: Client,
        arns: Vec<String>,
        versions: SecretVersions,
        clock: Arc<dyn Clock>,
        parse: impl Fn(&[String]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(SecretCacheState { value: None, last_read: None });
        Self { client, arns, versions, parse: Box::new(parse), clock, state }
    }

    /// Returns the cached value and reads it first if it is missing or older than [`SECRET_TTL`].
    ///
    /// # Errors
    /// [`SecretError`] if no value is cached and the read fails.
    pub async fn current_value(&self) -> Result<Arc<T>, SecretError> {
        let cached = self.cached_value(|(at, ok)| if ok { at.plus(SECRET_TTL) } else { at.plus(MIN_READ_INTERVAL) });
        match cached {
            CachedValue::Fresh(value) => Ok(value),
            CachedValue::Stale(value) => Ok(self.refresh_value().await.unwrap_or(value)),
            CachedValue::Missing => self.refresh_value().await,
        }
    }

    /// Reads the value again. Returns `None` if the last read was less than [`MIN_READ_INTERVAL`] ago or this one
    /// fails.
    pub async fn refreshed_value(&self) -> Option<Arc<T>> {
        match self.cached_value(|(at, _)| at.plus(MIN_READ_INTERVAL)) {
            CachedValue::Fresh(_) => None,
            CachedValue::Stale(_) | CachedValue::Missing => self.refresh_value().await.ok(),
        }
    }

    fn cached_value(&self, stale_from: impl Fn((Timestamp, bool)) -> Timestamp) -> CachedValue<T> {
        let now = self.clock.now();
        let state = self.state.lock();
        match (&state.value, state.last_read) {
            (Some(value), Some(read)) if now < stale_from(read) => CachedValue::Fresh(value.clone()),
            (Some(value), _) => CachedValue::Stale(value.clone()),
            (None, _) => CachedValue::Missing,
        }
    }

    async fn refresh_value(&self) -> Result<Arc<T>, SecretError> {
        let read = tokio::time::timeout(READ_TIMEOUT, Box::pin(self.fetch_values())).await;
        let result =
            read.unwrap_or(Err(SecretError::Timeout)).and_then(|values| self.parse_values(&values)).map(Arc::new);
        let mut state = self.state.lock();
        state.last_read = Some((self.clock.now(), result.is_ok()));
        match &result {
            Ok(value) => state.value = Some(value.clone()),
            Err(error) => {
                let cached = state.value.is_some();
                tracing::warn!(error = %errors::chain(error), secrets.cached = cached, "reading secrets failed");
            }
        }
        result
    }

    fn parse_values(&self, values: &[String]) -> Result<T, SecretError> {
        (self.parse)(values).map_err(|rule| SecretError::InvalidValue { arns: self.arns.clone(), rule })
    }

    /// Fetches the current values, followed by the previous ones if those are valid.
    async fn fetch_values(&self) -> Result<Vec<String>, SecretError> {
        let stages: &[Option<&str>] = match self.versions {
            SecretVersions::Current => &[None],
            SecretVersions::CurrentAndPrevious => &[None, Some(PREVIOUS_STAGE)],
        };
        let reads = stages.iter().flat_map(|stage| self.arns.iter().map(move |arn| self.fetch_value(arn, *stage)));
        Ok(try_join_all(reads).await?.into_iter().flatten().collect())
    }

    /// Fetches one value; `None` if the secret has no previous version.
    async fn fetch_value(&self, arn: &str, stage: Option<&str>) -> Result<Option<String>, SecretError> {
        let get = self.client.get_secret_value().secret_id(arn).set_version_stage(stage.map(str::to_owned));
        match get.send().await {
            Ok(output) => {
                let text = output.secret_string().map(|text| text.trim().to_owned());
                let binary =
                    || SecretError::ReadFailed { arn: arn.to_owned(), source: "the secret is binary, not text".into() };
                text.ok_or_else(binary).map(Some)
            }
            Err(error) if stage.is_some() && is_missing(&error) => Ok(None),
            Err(error) if error.code() == Some("AccessDeniedException") => {
                Err(SecretError::AccessDenied { arn: arn.to_owned(), source: error.into() })
            }
            Err(error) => Err(SecretError::ReadFailed { arn: arn.to_owned(), source: error.into() }),
        }
    }
}

impl<T> fmt::Debug for CachedSecrets<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedSecrets").field("arns", &self.arns).finish_non_exhaustive()
    }
}

enum CachedValue<T> {
    Fresh(Arc<T>),
    Stale(Arc<T>),
    Missing,
}

fn is_missing<R>(error: &SdkError<ReadError, R>) -> bool {
    error.as_service_error().is_some_and(ReadError::is_resource_not_found_exception)
}
