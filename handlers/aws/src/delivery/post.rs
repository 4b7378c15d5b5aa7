//! One call of the `@connections` API and its outcome.
//!
//! The SDK retries 429 and 5xx responses (standard mode, full jitter, bounded attempts); an error here means that the
//! retries are exhausted. API Gateway also answers 429 while a client does not read ("Use @connections commands", API
//! Gateway guide).

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::http::HttpResponse;
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::primitives::Blob;
use handlers::id::ConnectionId;
use handlers::ports::{BoxError, DeliveryError};

use super::ADAPTER;

/// Outcome of a post.
#[derive(Debug)]
pub(super) enum PostOutcome {
    /// API Gateway accepted the frame.
    Sent,
    /// The connection is not open (410).
    Gone,
    /// The post failed; the connection may be open.
    Failed(PostError),
}

/// Error of a post.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("PostToConnection timed out")]
    Timeout,
    #[error("API Gateway throttled the request, or the client does not read (429)")]
    Throttled(#[source] BoxError),
    #[error("API Gateway is unavailable")]
    Unavailable(#[source] BoxError),
    #[error(
        "access denied by API Gateway: the function's role needs 'execute-api:ManageConnections' on the API and stage \
         of TWINWAY_MANAGEMENT_ENDPOINT"
    )]
    AccessDenied(#[source] BoxError),
    #[error("API Gateway rejected the request")]
    Rejected(#[source] BoxError),
}

impl From<PostError> for DeliveryError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Timeout | PostError::Throttled(_) | PostError::Unavailable(_) => {
                Self::Unavailable(Box::new(error))
            }
            PostError::AccessDenied(_) | PostError::Rejected(_) => {
                Self::Backend { adapter: ADAPTER, source: Box::new(error) }
            }
        }
    }
}

/// Posts a frame to the connection.
pub(super) async fn post_frame(client: &Client, id: &ConnectionId, frame: Blob) -> PostOutcome {
    let post = client.post_to_connection().connection_id(id.as_str()).data(frame);
    post.send().await.map_or_else(classify_error, |_| PostOutcome::Sent)
}

/// Closes the connection.
pub(super) async fn delete_connection(client: &Client, id: &ConnectionId) -> PostOutcome {
    client
        .delete_connection()
        .connection_id(id.as_str())
        .send()
        .await
        .map_or_else(classify_error, |_| PostOutcome::Sent)
}

fn classify_error<E>(error: SdkError<E, HttpResponse>) -> PostOutcome
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let kind: fn(BoxError) -> PostError = match status {
        // A proxy in between may drop the error's name, so only the status counts.
        Some(410) => return PostOutcome::Gone,
        Some(429) => PostError::Throttled,
        Some(403) => PostError::AccessDenied,
        Some(500..) | None => PostError::Unavailable,
        Some(_) => PostError::Rejected,
    };
    PostOutcome::Failed(kind(BoxError::from(error)))
}
