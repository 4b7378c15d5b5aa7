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
pub(super) enum Fate {
    /// The gateway has taken it.
    Sent,
    /// The connection is not open.
    Gone,
    /// The connection may be open.
    Failed(PostFailed),
}

/// Why a post did not get through.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostFailed {
    #[error("the post had no end in time")]
    Late,
    #[error("the gateway or the client takes no more at the moment (429)")]
    Throttled(#[source] BoxError),
    #[error("the gateway did not answer")]
    Unanswered(#[source] BoxError),
    #[error(
        "the gateway denies the post: the function's role needs 'execute-api:ManageConnections' on the API and stage \
         of TWINWAY_MANAGEMENT_ENDPOINT"
    )]
    Denied(#[source] BoxError),
    #[error("the gateway refuses the post")]
    Refused(#[source] BoxError),
}

impl From<PostFailed> for DeliveryError {
    fn from(failure: PostFailed) -> Self {
        match failure {
            PostFailed::Late | PostFailed::Throttled(_) | PostFailed::Unanswered(_) => {
                Self::Unavailable(Box::new(failure))
            }
            PostFailed::Denied(_) | PostFailed::Refused(_) => {
                Self::Backend { adapter: ADAPTER, source: Box::new(failure) }
            }
        }
    }
}

/// Posts a frame.
pub(super) async fn post(client: &Client, id: &ConnectionId, frame: Blob) -> Fate {
    let post = client.post_to_connection().connection_id(id.as_str()).data(frame);
    post.send().await.map_or_else(fate, |_| Fate::Sent)
}

/// Closes the connection.
pub(super) async fn delete(client: &Client, id: &ConnectionId) -> Fate {
    client.delete_connection().connection_id(id.as_str()).send().await.map_or_else(fate, |_| Fate::Sent)
}

fn fate<E>(error: SdkError<E, HttpResponse>) -> Fate
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let failure: fn(BoxError) -> PostFailed = match status {
        // The status decides: a gateway in between may drop the error's name.
        Some(410) => return Fate::Gone,
        Some(429) => PostFailed::Throttled,
        Some(403) => PostFailed::Denied,
        Some(500..) | None => PostFailed::Unanswered,
        Some(_) => PostFailed::Refused,
    };
    Fate::Failed(failure(BoxError::from(error)))
}
