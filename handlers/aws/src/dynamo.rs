//! Common parts of both tables' adapters: error classification, retry delays and attribute parsing.
//!
//! The SDK retries throttled and transient responses (standard mode: bounded attempts, exponential backoff with full
//! jitter, and a retry quota), and [`retries`](crate::retries) adds conflicts; errors that reach this module are past
//! those retries. [`retry_delays`] is for retries that the SDK cannot make: those that need a fresh read or that cover
//! unprocessed items.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use backon::{BackoffBuilder, ExponentialBuilder};
use handlers::ports::{BoxError, LogError, StoreError};

/// Attributes of an item by name.
pub(crate) type AttributeMap = HashMap<String, AttributeValue>;

/// Timeout of one call of a port with all its requests. It is far below API Gateway's 29 seconds, so a client receives
/// `unavailable` before the integration times out.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum attempts of an operation that the SDK cannot retry.
const MAX_ATTEMPTS: usize = 40;
const MIN_RETRY_DELAY: Duration = Duration::from_millis(4);
const MAX_RETRY_DELAY: Duration = Duration::from_millis(125);

/// Name of the adapter in errors.
const ADAPTER: &str = "dynamodb";

/// Error codes that a retry may resolve (DynamoDB developer guide, "Error handling"), in addition to every 5xx status.
const TRANSIENT_CODES: [&str; 9] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "InternalServerError",
    "ServiceUnavailable",
    "TransactionConflictException",
    "TransactionInProgressException",
    "ReplicatedWriteConflictException",
];

/// Error of a DynamoDB call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DynamoError {
    #[error("{operation} on table '{table}' was throttled or DynamoDB is unavailable")]
    Unavailable { operation: &'static str, table: String, source: BoxError },
    #[error("{operation}: table '{table}' (or its index) does not exist in this account and region")]
    TableNotFound { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} is denied: the function's role needs 'dynamodb:{operation}' on the table '{table}'")]
    AccessDenied { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} on table '{table}' failed")]
    Rejected { operation: &'static str, table: String, source: BoxError },
    #[error("{operation} on table '{table}' timed out after {OPERATION_TIMEOUT:?}")]
    Timeout { operation: &'static str, table: String },
    #[error("{operation} on table '{table}' failed after {MAX_ATTEMPTS} conflicting writes to the same item")]
    Contended { operation: &'static str, table: String },
    #[error("an item of table '{table}' has a missing or invalid attribute '{attribute}'")]
    InvalidAttribute { table: String, attribute: &'static str },
    #[error("{0} channels exceed one transaction: the DynamoDB limit is 100 items")]
    TooManyChannels(usize),
    #[error("reading random bytes from the operating system failed")]
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

/// Converts an SDK error by its code and status.
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
    let no_response =
        matches!(error, SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
    let (table, source) = (table.to_owned(), BoxError::from(error));
    match code.as_deref() {
        Some("ResourceNotFoundException") => DynamoError::TableNotFound { operation, table, source },
        Some("AccessDeniedException") => DynamoError::AccessDenied { operation, table, source },
        Some(code) if TRANSIENT_CODES.contains(&code) => DynamoError::Unavailable { operation, table, source },
        _ if server_failed || no_response => DynamoError::Unavailable { operation, table, source },
        _ => DynamoError::Rejected { operation, table, source },
    }
}

/// Runs `work` with [`OPERATION_TIMEOUT`]. The future is boxed here because its state is large.
pub(crate) async fn with_timeout<T>(
    operation: &'static str,
    table: &str,
    work: impl Future<Output = Result<T, DynamoError>> + Send,
) -> Result<T, DynamoError> {
    let timeout = |_| DynamoError::Timeout { operation, table: table.to_owned() };
    tokio::time::timeout(OPERATION_TIMEOUT, Box::pin(work)).await.map_err(timeout)?
}

/// Returns the delays between at most [`MAX_ATTEMPTS`] attempts: exponential backoff with jitter.
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

/// Parser of the attributes of one item.
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

    /// Reads a text attribute and parses it with `parse`.
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
