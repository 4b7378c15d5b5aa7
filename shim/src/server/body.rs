//! Reader of request bodies with a size limit, a timeout, and a budget of memory for all of them.
//!
//! warp's own limits answer 411 to chunked bodies and have no timeout, so a client could occupy a task indefinitely.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, EXPECT};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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
    /// The bodies of other requests occupy the memory for bodies.
    OverBudget,
}

/// Memory for the bodies of all requests of the process.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<Semaphore>);

/// A complete body. Its bytes are returned to the budget when this value is dropped.
#[derive(Debug)]
pub struct ReceivedBody {
    pub bytes: Bytes,
    _reserved: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    /// Creates a budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// Adds `bytes` to a reservation. Never waits: two requests that wait for each other's bytes would both time out.
    fn extend_reservation(&self, reserved: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), BodyError> {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::OverBudget)?;
        let added = self.0.clone().try_acquire_many_owned(bytes).map_err(|_| BodyError::OverBudget)?;
        match reserved {
            Some(reserved) => reserved.merge(added),
            None => *reserved = Some(added),
        }
        Ok(())
    }
}

/// Checks the announced length of a body before it is read: a client that waits for `100 Continue` gets the response at
/// once, and one that announces more than is ever discarded does not have to send it.
///
/// # Errors
/// [`BodyError::TooLarge`].
pub fn check_announced_length(headers: &HeaderMap, limit: usize) -> Result<(), BodyError> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let readable = if headers.contains_key(EXPECT) { limit } else { limit.saturating_add(MAX_DISCARDED_BODY_BYTES) };
    if length.is_some_and(|length| length > readable) { Err(BodyError::TooLarge) } else { Ok(()) }
}

/// Reads all of `body`, at most `limit` bytes, within `timeout`. Memory is reserved as bytes arrive, so that a client
/// that announces a large body and sends nothing reserves nothing.
///
/// # Errors
/// [`BodyError`] when the body is too large, late or incomplete, or `budget` is used up; the bytes read so far are
/// dropped.
pub async fn read_body<B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
    limit: usize,
    timeout: Duration,
    budget: &BodyBudget,
) -> Result<ReceivedBody, BodyError> {
    let reading = async {
        let mut body = std::pin::pin!(body);
        let (mut read, mut length, mut reserved) = (BytesMut::new(), 0, None);
        while let Some(chunk) = body.next().await {
            let mut chunk = chunk.map_err(|_| BodyError::Interrupted)?;
            length += chunk.remaining();
            if length <= limit {
                budget.extend_reservation(&mut reserved, chunk.remaining())?;
                read.extend_from_slice(&chunk.copy_to_bytes(chunk.remaining()));
            } else if length > limit + MAX_DISCARDED_BODY_BYTES {
                break;
            } else {
                (read, reserved) = (BytesMut::new(), None);
            }
        }
        if length > limit {
            return Err(BodyError::TooLarge);
        }
        Ok(ReceivedBody { bytes: read.freeze(), _reserved: reserved })
    };
    tokio::time::timeout(timeout, reading).await.unwrap_or(Err(BodyError::TimedOut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_what_is_discarded_is_rejected_before_the_body() {
        let checked = |headers: &[(http::HeaderName, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            check_announced_length(&headers, 1_000)
        };
        for (length, continues, expected) in [
            ("1000", true, Ok(())),
            ("1001", false, Ok(())),
            ("1001", true, Err(BodyError::TooLarge)),
            ("33555432", false, Ok(())),
            ("33555433", false, Err(BodyError::TooLarge)),
        ] {
            let expect = continues.then_some((EXPECT, "100-continue"));
            let headers: Vec<_> = [(CONTENT_LENGTH, length)].into_iter().chain(expect).collect();
            assert_eq!(checked(&headers), expected, "{length}");
        }
        assert_eq!(checked(&[]), Ok(()));
    }
}
