//! What both tables' adapters share: failures in the operator's words, retries of what the SDK leaves open, attributes.
//!
//! Throttled and transient answers are retried by the SDK itself (standard mode: a bounded number of attempts, exponential
//! with full jitter, and a budget that a whole outage exhausts). What reaches this module has used that up. What the SDK
//! cannot retry, because a decision of ours is in between, waits for [`retry_delays`].

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use backon::{BackoffBuilder, ExponentialBuilder};
use handlers::ports::{BoxError, LogError, StoreError};

/// An item, by attribute.
pub(crate) type AttributeMap = HashMap<String, AttributeValue>;

/// How long one call of a port may take with everything in it: well inside API Gateway's 29 seconds, so that a client is
/// told `unavailable` and not cut off.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Attempts of an operation that the SDK cannot repeat by itself.
const MAX_ATTEMPTS: usize = 40;
const MIN_RETRY_DELAY: Duration = Duration::from_millis(4);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(125);

/// The adapter's name in errors.
const ADAPTER: &str = "dynamodb";

/// The codes of answers that the same call may not get again (DynamoDB developer guide, "Error handling").
const TRANSIENT_CODES: [&str; 8] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "InternalServerError",
    "ServiceUnavailable",
    "TransactionInProgressException",
    "ReplicatedWriteConflictException",
];

/// Why DynamoDB did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DynamoError {
    #[error("{operation} on the table '{table}' was throttled or not answered")]
    Unavailable { operation: &'static str, table: String, source: BoxError },
    #[error("{operation}: there is no table '{table}' (or no such index) in this account and region")]
    TableNotFound { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} is denied: the function's role needs 'dynamodb:{operation}' on the table '{table}'")]
    AccessDenied { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} on the table '{table}' failed")]
    Rejected { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} on the table '{table}' had no end within {OPERATION_TIMEOUT:?}")]
    Timeout { operation: &'static str, table: String },
    #[error("{operation} on the table '{table}' met others at the same item {MAX_ATTEMPTS} times")]
    Contended { operation: &'static str, table: String },
    #[error("an item of the table '{table}' has no usable '{attribute}'")]
    InvalidAttribute { table: String, attribute: &'static str },
    #[error("{0} channels cannot change in one step: DynamoDB takes 100 items in a transaction")]
    TooManyChannels(usize),
    #[error("the operating system gives no random bytes")]
    Randomness(#[from] getrandom::Error),
}

impl DynamoError {
    const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. } | Self::Contended { .. })
    }
}

impl From<DynamoError> for StoreError {
    fn from(error: DynamoError) -> Self {
        match error.is_transient() {
            true => Self::Unavailable(Box::new(error)),
            false => Self::Backend { adapter: ADAPTER, source: Box::new(error) },
        }
    }
}

impl From<DynamoError> for LogError {
    fn from(error: DynamoError) -> Self {
        match error.is_transient() {
            true => Self::Unavailable(Box::new(error)),
            false => Self::Backend { adapter: ADAPTER, source: Box::new(error) },
        }
    }
}

/// Sorts what a call of the SDK reports.
pub(crate) fn classify_sdk_error<E>(
    operation: &'static str,
    table: &str,
    error: SdkError<E, HttpResponse>,
) -> DynamoError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let code = error.code().map(str::to_owned);
    let server_failed = error.raw_response().is_some_and(|response| response.status().as_u16() >= 500);
    let unanswered =
        matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
    let (table, source) = (table.to_owned(), BoxError::from(error));
    match code.as_deref() {
        Some("ResourceNotFoundException") => DynamoError::TableNotFound { operation, table, source },
        Some("AccessDeniedException") => DynamoError::AccessDenied { operation, table, source },
        Some(code) if TRANSIENT_CODES.contains(&code) => DynamoError::Unavailable { operation, table, source },
        _ if server_failed || unanswered => DynamoError::Unavailable { operation, table, source },
        _ => DynamoError::Rejected { operation, table, source },
    }
}

/// Gives `work` the time that a port's call may take. Its state is large, so it is boxed here, once.
pub(crate) async fn with_timeout<T>(
    operation: &'static str,
    table: &str,
    work: impl Future<Output = Result<T, DynamoError>> + Send,
) -> Result<T, DynamoError> {
    let late = |_| DynamoError::Timeout { operation, table: table.to_owned() };
    tokio::time::timeout(OPERATION_TIMEOUT, Box::pin(work)).await.map_err(late)?
}

/// Returns the delays between [`MAX_ATTEMPTS`] attempts: exponential, with jitter.
pub(crate) fn retry_delays() -> impl Iterator<Item = Duration> {
    let backoff = ExponentialBuilder::default().with_min_delay(MIN_RETRY_DELAY).with_max_delay(MAX_RETRY_DELAY);
    backoff.with_jitter().with_max_times(MAX_ATTEMPTS).build()
}

pub(crate) fn text_value(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number_value(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Reads attributes off items of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttributeReader<'a> {
    pub(crate) table: &'a str,
    pub(crate) item: &'a AttributeMap,
}

impl<'a> AttributeReader<'a> {
    pub(crate) fn read_text(self, attribute: &'static str) -> Result<&'a str, DynamoError> {
        let value = self.item.get(attribute).and_then(|value| value.as_s().ok());
        value.map(String::as_str).ok_or_else(|| self.invalid_attribute(attribute))
    }

    pub(crate) fn read_number<T: std::str::FromStr>(self, attribute: &'static str) -> Result<T, DynamoError> {
        let value = self.item.get(attribute).and_then(|value| value.as_n().ok());
        value.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.invalid_attribute(attribute))
    }

    /// A text that has to pass a check of ours.
    pub(crate) fn parse_text<T, E>(
        self,
        attribute: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, DynamoError> {
        parse(self.read_text(attribute)?).map_err(|_| self.invalid_attribute(attribute))
    }

    pub(crate) fn invalid_attribute(self, attribute: &'static str) -> DynamoError {
        DynamoError::InvalidAttribute { table: self.table.to_owned(), attribute }
    }
}
