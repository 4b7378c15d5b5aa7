//! Retry of the DynamoDB errors that the SDK's standard mode does not retry.
//!
//! | error | calls | retried by |
//! |---|---|---|
//! | throttling: `ProvisionedThroughputExceededException`, `ThrottlingException`, `RequestLimitExceeded`, `LimitExceededException` | all | SDK |
//! | `InternalServerError`, `ServiceUnavailable`, every other 500, 502, 503 and 504 | all | SDK |
//! | no connection, connection reset, no response in time, truncated response | all | SDK |
//! | `TransactionInProgressException` | TransactWriteItems, with the same token | SDK |
//! | `TransactionConflictException` | PutItem, UpdateItem, DeleteItem | [`ConflictClassifier`] |
//! | `ReplicatedWriteConflictException` (global tables) | every write | [`ConflictClassifier`] |
//! | `UnrecognizedClientException` (new credentials) | all | [`ConflictClassifier`] |
//! | `TransactionCanceledException` | TransactWriteItems | `connections::change`, which reads the record again |
//! | unprocessed items and keys | BatchWriteItem, BatchGetItem | the callers, with `dynamo::retry_delays` |
//!
//! Sources: "Error handling with DynamoDB", column "OK to retry?", and "Transaction conflict handling in DynamoDB"
//! (DynamoDB developer guide). A repeated write is safe: entries and claims are conditional on their absence,
//! transactions carry a token, and the other writes set the same values again.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::interceptors::InterceptorContext;
use aws_sdk_dynamodb::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::get_item::GetItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::scan::ScanError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;

/// Error codes that a retry may resolve and that the SDK does not retry.
const RETRIED_CODES: [&str; 3] =
    ["TransactionConflictException", "ReplicatedWriteConflictException", "UnrecognizedClientException"];

/// Creates a client that retries every retryable error of the calls that the adapters make.
#[must_use]
pub fn dynamo_client(sdk: &aws_config::SdkConfig) -> Client {
    Client::from_conf(with_conflict_retries(Builder::from(sdk)).build())
}

/// Adds the retries of [`dynamo_client`] to a configuration.
#[must_use]
pub fn with_conflict_retries(config: Builder) -> Builder {
    config.retry_classifier(ConflictClassifier)
}

/// Classifies the errors of [`RETRIED_CODES`] as transient. Attempts, backoff and quota are those of the SDK's
/// configuration.
#[derive(Debug)]
struct ConflictClassifier;

impl ClassifyRetry for ConflictClassifier {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match error_code(context) {
            Some(code) if RETRIED_CODES.contains(&code) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "DynamoDB conflicts"
    }
}

/// Returns the error code of the response. The SDK has one error type per call.
fn error_code(context: &InterceptorContext) -> Option<&str> {
    let error = context.output_or_error()?.err()?.as_operation_error()?;
    macro_rules! code_of {
        ($($kind:ty),+) => {
            None$(.or_else(|| error.downcast_ref::<$kind>().and_then(ProvideErrorMetadata::code)))+
        };
    }
    code_of!(
        PutItemError,
        UpdateItemError,
        DeleteItemError,
        TransactWriteItemsError,
        BatchWriteItemError,
        GetItemError,
        QueryError,
        BatchGetItemError,
        ScanError
    )
}
