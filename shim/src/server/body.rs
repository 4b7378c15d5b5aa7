//! Reader of request bodies with a size limit, a timeout, and a budget of memory for all of them.
//!
//! warp's own limits answer 411 to chunked bodies and have no timeout, so a client could occupy a task indefinitely.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
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
