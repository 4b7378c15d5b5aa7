//! What a runtime posts, whole or in chunks.
//!
//! Invariant: no more than the limit is kept. What is beyond it is read and dropped up to a bound, so that the client gets
//! to hear why; a streamed response is simply read to its end, because API Gateway has no use for a part of one.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// Largest response of a function: 6 MiB and 100 bytes (`aws-lambda-runtime-interface-emulator`, `interop/model.go`).
pub(super) const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024 + 100;
/// Most bytes that are read to be dropped.
const MAX_DISCARDED_BYTES: usize = 64 * 1024 * 1024;

pub(super) struct CollectedBody {
    pub bytes: Bytes,
    pub trailers: Option<HeaderMap>,
}

pub(super) enum PayloadError {
    TooLarge,
    Truncated,
}

/// Reads a body of at most `most` bytes with its trailers.
pub(super) async fn collect_body(mut body: Incoming, most: usize) -> Result<CollectedBody, PayloadError> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(most);
    let mut kept = BytesMut::with_capacity(expected);
    let (mut read, mut trailers) = (0, None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| PayloadError::Truncated)?;
        match frame.into_data() {
            Ok(data) => {
                read += data.len();
                if read <= most {
                    kept.extend_from_slice(&data);
                } else if read > most + MAX_DISCARDED_BYTES {
                    return Err(PayloadError::TooLarge);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if read > most { Err(PayloadError::TooLarge) } else { Ok(CollectedBody { bytes: kept.freeze(), trailers }) }
}
