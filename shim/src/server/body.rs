//! Reading a request's body within a bound and a deadline. warp's own limits answer 411 to chunked bodies and have no
//! deadline, so a client could hold a task for ever.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

/// Most bytes that are read and thrown away behind the bound: a client that is still sending when the connection ends
/// sees a broken pipe instead of the answer.
const MAX_DISCARDED_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than allowed.
    TooLarge,
    /// Not all of it within the deadline.
    TimedOut,
    /// The connection broke.
    Interrupted,
}

/// Reads all of `body`, at most `most` bytes, within `deadline`.
///
/// # Errors
/// [`BodyError`]; what was read is dropped.
pub async fn read_body<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    most: usize,
    deadline: Duration,
) -> Result<Bytes, BodyError> {
    let reading = async {
        let mut body = std::pin::pin!(body);
        let (mut read, mut length) = (BytesMut::new(), 0);
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| BodyError::Interrupted)?;
            length += chunk.remaining();
            if length <= most {
                read.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            } else if length > most + MAX_DISCARDED_BODY_BYTES {
                break;
            }
        }
        if length <= most { Ok(read.freeze()) } else { Err(BodyError::TooLarge) }
    };
    tokio::time::timeout(deadline, reading).await.unwrap_or(Err(BodyError::TimedOut))
}
