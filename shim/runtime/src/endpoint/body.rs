//! Reader of the bodies that a runtime posts, buffered or streamed.
//!
//! Bytes beyond the limit are read and discarded up to a second limit, so that the client can read the error response.
//! A streamed response is read to its end, because API Gateway does not support partial responses.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// Maximum response of a function: 6 MiB and 100 bytes (`aws-lambda-runtime-interface-emulator`, `interop/model.go`).
pub(super) const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024 + 100;
/// Maximum bytes that are read and discarded.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;

pub(super) struct CollectedBody {
    pub bytes: Bytes,
    pub trailers: Option<HeaderMap>,
}

pub(super) enum PayloadError {
    TooLarge,
    Truncated,
}

/// Reads a body of at most `limit` bytes with its trailers.
pub(super) async fn collect_body(mut body: Incoming, limit: usize) -> Result<CollectedBody, PayloadError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    let mut buffer = BytesMut::with_capacity(expected);
    let (mut read, mut trailers) = (0, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| PayloadError::Truncated)?;
        match frame.into_data() {
            Ok(data) => {
                read += data.len();
                if read <= limit {
                    buffer.extend_from_slice(&data);
                } else if read > limit + MAX_DISCARDED_BYTES {
                    return Err(PayloadError::TooLarge);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if read > limit { Err(PayloadError::TooLarge) } else { Ok(CollectedBody { bytes: buffer.freeze(), trailers }) }
}
