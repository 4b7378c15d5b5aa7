//! Reader of request bodies with a size limit and a timeout.
//!
//! warp's own limits answer 411 to chunked bodies and have no timeout, so a client could occupy a task indefinitely.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

/// Maximum bytes that are read and discarded beyond the limit. A client that is still sending when the connection
/// closes gets a broken pipe instead of the response.
const MAX_DISCARDED_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Error of reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The body is larger than the limit.
    TooLarge,
    /// The body was not complete within the timeout.
    TimedOut,
    /// The connection closed before the body was complete.
    Interrupted,
}

/// Reads all of `body`, at most `limit` bytes, within `timeout`.
///
/// # Errors
/// [`BodyError`] when the body is too large, late or incomplete; the bytes read so far are dropped.
pub async fn read_body<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, BodyError> {
    let reading = async {
        let mut body = std::pin::pin!(body);
        let (mut read, mut length) = (BytesMut::new(), 0);
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| BodyError::Interrupted)?;
            length += chunk.remaining();
            if length <= limit {
                read.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            } else if length > limit + MAX_DISCARDED_BODY_BYTES {
                break;
            }
        }
        if length <= limit { Ok(read.freeze()) } else { Err(BodyError::TooLarge) }
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or(Err(BodyError::TimedOut))
}
