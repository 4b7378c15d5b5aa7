//! One call of `@connections` and what became of it.
//!
//! Answers of 429 and 5xx are retried by the SDK (standard mode, full jitter, bounded); what is reported here has used that
//! up. API Gateway answers 429 also while one client does not read ("Use @connections commands", API Gateway guide).

use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::config::http::HttpResponse;
use aws_sdk_apigatewaymanagement::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_apigatewaymanagement::primitives::Blob;
use handlers::id::ConnectionId;
use handlers::ports::{BoxError, DeliveryError};

use super::ADAPTER;

/// What became of a post.
#[derive(Debug)]
pub(super) enum PostOutcome {
    /// The gateway has taken it.
    Sent,
    /// The connection is not open.
    Gone,
    /// The connection may be open.
    Failed(PostError),
}

/// Why a post did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error("the post had no end in time")]
    Timeout,
    #[error("the gateway or the client takes no more at the moment (429)")]
    Throttled(#[source] BoxError),
    #[error("the gateway did not answer")]
    Unavailable(#[source] BoxError),
    #[error(
        "the gateway denies the post: the function's role needs 'execute-api:ManageConnections' on the API and stage \
         of TWINWAY_MANAGEMENT_ENDPOINT"
    )]
    AccessDenied(#[source] BoxError),
    #[error("the gateway refuses the post")]
    Rejected(#[source] BoxError),
}

impl From<PostError> for DeliveryError {
    fn from(failure: PostError) -> Self {
        match failure {
            PostError::Timeout | PostError::Throttled(_) | PostError::Unavailable(_) => {
                Self::Unavailable(Box::new(failure))
            }
            PostError::AccessDenied(_) | PostError::Rejected(_) => {
                Self::Backend { adapter: ADAPTER, source: Box::new(failure) }
            }
        }
    }
}

/// Posts a frame.
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
    let failure: fn(BoxError) -> PostError = match status {
        // The status decides: a gateway in between may drop the error's name.
        Some(410) => return PostOutcome::Gone,
        Some(429) => PostError::Throttled,
        Some(403) => PostError::AccessDenied,
        Some(500..) | None => PostError::Unavailable,
        Some(_) => PostError::Rejected,
    };
    PostOutcome::Failed(failure(BoxError::from(error)))
}
