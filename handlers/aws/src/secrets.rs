//! Secrets that are read from Secrets Manager by the function that needs them, and so stand in no configuration.
//!
//! Invariants: nothing is read before an event needs it, and then within [`READ_TIMEOUT`]; what was good stays in use while
//! Secrets Manager is away; nobody can make a function read more often than once in [`MIN_READ_INTERVAL`]. Values are in no error, no
//! log line and no `Debug` output. A function handles one event at a time, so nobody waits here for another's read.

mod keys;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError as Refusal;
use futures_util::future::try_join_all;
use handlers::ports::{BoxError, Clock, Timestamp};
use parking_lot::Mutex;

pub use self::keys::SecretKeys;

/// How long one read of all values may take, retries included: a connecting client waits for it.
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// How long values are used before they are read again: a revoked one is refused this late at most.
pub const SECRET_TTL: Duration = Duration::from_secs(5 * 60);
/// Least time between two reads while there are values to work with: a rotation is noticed this late at most, and a token
/// that is not good cannot buy more than one read in this time.
pub const MIN_READ_INTERVAL: Duration = Duration::from_secs(30);

/// The label of the version before the current one ("AWS Secrets Manager secret versions", user guide).
const PREVIOUS_STAGE: &str = "AWSPREVIOUS";

/// Which versions of a secret count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretVersions {
    /// What a rotation replaced ends with it.
    Current,
    /// What a rotation replaced stays good until the next one.
    CurrentAndPrevious,
}

/// Why there are no values.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// No answer in time.
    #[error("secrets were not read within {READ_TIMEOUT:?}")]
    Timeout,
    /// The role lacks a right.
    #[error("reading '{arn}' is denied: the function's role needs 'secretsmanager:GetSecretValue' on it")]
    AccessDenied {
        /// Which secret.
        arn: String,
        /// Secrets Manager's words.
        #[source]
        source: BoxError,
    },
    /// Secrets Manager did not answer, or not with a value.
    #[error("reading '{arn}' failed")]
    ReadFailed {
        /// Which secret.
        arn: String,
        /// Secrets Manager's words.
        #[source]
        source: BoxError,
    },
    /// There is a value, but not one that can be used.
    #[error("a value of {arns:?} is not usable: {rule}")]
    InvalidValue {
        /// Of these secrets.
        arns: Vec<String>,
        /// The rule that it breaks.
        rule: String,
    },
}

type ParseValues<T> = Box<dyn Fn(&[String]) -> Result<T, String> + Send + Sync>;

/// What is made of the values of some secrets.
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
    /// When the last read ended, and whether it was good.
    last_read: Option<(Timestamp, bool)>,
}

impl<T> CachedSecrets<T> {
    /// What `parse` makes of the values of `arns`. Its errors are told to the log, so they name no value.
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

    /// What there is, read if need be.
    ///
    /// # Errors
    /// [`SecretError`] when nothing was ever read and cannot be now.
    pub async fn current_value(&self) -> Result<Arc<T>, SecretError> {
        let kept = self.cached_value(|(at, good)| if good { at.plus(SECRET_TTL) } else { at.plus(MIN_READ_INTERVAL) });
        match kept {
            CachedValue::Fresh(made) => Ok(made),
            CachedValue::Stale(made) => Ok(self.refresh_value().await.unwrap_or(made)),
            CachedValue::Missing => self.refresh_value().await,
        }
    }

    /// The same read again, unless that was done within [`MIN_READ_INTERVAL`]; `None` then, and when it cannot be read.
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
            (Some(made), Some(read)) if now < stale_from(read) => CachedValue::Fresh(made.clone()),
            (Some(made), _) => CachedValue::Stale(made.clone()),
            (None, _) => CachedValue::Missing,
        }
    }

    async fn refresh_value(&self) -> Result<Arc<T>, SecretError> {
        let read = tokio::time::timeout(READ_TIMEOUT, Box::pin(self.fetch_values())).await;
        let made =
            read.unwrap_or(Err(SecretError::Timeout)).and_then(|values| self.parse_values(&values)).map(Arc::new);
        let mut state = self.state.lock();
        state.last_read = Some((self.clock.now(), made.is_ok()));
        match &made {
            Ok(made) => state.value = Some(made.clone()),
            Err(error) => {
                let kept = state.value.is_some();
                tracing::warn!(error = %errors::chain(error), secrets.kept = kept, "secrets are not read");
            }
        }
        made
    }

    fn parse_values(&self, values: &[String]) -> Result<T, SecretError> {
        (self.parse)(values).map_err(|rule| SecretError::InvalidValue { arns: self.arns.clone(), rule })
    }

    /// The current values, and then the previous ones.
    async fn fetch_values(&self) -> Result<Vec<String>, SecretError> {
        let stages: &[Option<&str>] = match self.versions {
            SecretVersions::Current => &[None],
            SecretVersions::CurrentAndPrevious => &[None, Some(PREVIOUS_STAGE)],
        };
        let wanted = stages.iter().flat_map(|stage| self.arns.iter().map(move |arn| self.fetch_value(arn, *stage)));
        Ok(try_join_all(wanted).await?.into_iter().flatten().collect())
    }

    /// One value; a secret that was never changed has no previous one.
    async fn fetch_value(&self, arn: &str, stage: Option<&str>) -> Result<Option<String>, SecretError> {
        let get = self.client.get_secret_value().secret_id(arn).set_version_stage(stage.map(str::to_owned));
        match get.send().await {
            Ok(answer) => {
                let text = answer.secret_string().map(|text| text.trim().to_owned());
                let no_text =
                    || SecretError::ReadFailed { arn: arn.to_owned(), source: "it holds bytes and no text".into() };
                text.ok_or_else(no_text).map(Some)
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
        f.debug_struct("Secrets").field("arns", &self.arns).finish_non_exhaustive()
    }
}

enum CachedValue<T> {
    Fresh(Arc<T>),
    Stale(Arc<T>),
    Missing,
}

fn is_missing<R>(error: &SdkError<Refusal, R>) -> bool {
    error.as_service_error().is_some_and(Refusal::is_resource_not_found_exception)
}
