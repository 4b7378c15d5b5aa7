//! Frame decoder of the load generator: complete, unmasked frames up to [`MAX_PAYLOAD`].
//!
//! A frame is decoded only when it has arrived completely; nothing is copied. Fragmented messages are rejected,
//! because frames could then not be counted as messages. UTF-8 is not checked, because the text is not under test.

use std::fmt;

use crate::websocket::{COMPRESSED, Header, opcode};

/// Maximum payload of a server's frame in bytes. No scenario needs twice API Gateway's message quota of 128 KiB, and
/// the bound keeps the shared read buffer small.
pub const MAX_PAYLOAD: usize = 192 * 1024;

/// Complete frame of a server, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// One of [`opcode`], except `CONTINUATION`.
    pub opcode: u8,
    /// Whether RSV1 is set: a compressed message, if the extension was negotiated.
    pub compressed: bool,
    pub payload: &'a [u8],
}

/// Error for server bytes that this generator does not accept as a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// The message is split into several frames.
    Fragmented,
    /// The opcode is reserved.
    Opcode(u8),
    /// A reserved bit is set without a negotiated extension.
    Extension,
    /// The frame is masked, which servers never do (RFC 6455, section 5.1).
    Masked,
    /// The payload is longer than [`MAX_PAYLOAD`].
    TooLong(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fragmented => write!(formatter, "the server fragments its messages, so they cannot be counted"),
            Self::Opcode(bits) => write!(formatter, "reserved opcode {bits:#x} from the server"),
            Self::Extension => write!(formatter, "reserved bit set by the server"),
            Self::Masked => write!(formatter, "masked frame from the server"),
            Self::TooLong(bytes) => {
                write!(formatter, "frame of {bytes} bytes from the server, more than {MAX_PAYLOAD}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Decodes the first frame of `bytes`: returns the frame and its length in bytes, or `None` when bytes are missing.
///
/// # Errors
/// [`FrameError`] when the bytes cannot become a valid frame.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, start)) = Header::parse(bytes) else { return Ok(None) };
    let length = check(&header)?;
    let (opcode, compressed) = (header.opcode, header.reserved == COMPRESSED);
    let frame = |payload| (Frame { opcode, compressed, payload }, start + length);
    Ok(bytes.get(start..start + length).map(frame))
}

/// Returns the payload length of a valid frame.
fn check(header: &Header) -> Result<usize, FrameError> {
    let is_data = match header.opcode {
        opcode::TEXT | opcode::BINARY => true,
        opcode::CLOSE | opcode::PING | opcode::PONG => false,
        opcode::CONTINUATION => return Err(FrameError::Fragmented),
        reserved => return Err(FrameError::Opcode(reserved)),
    };
    if !header.fin {
        return Err(FrameError::Fragmented);
    }
    if header.reserved != 0 && !(is_data && header.reserved == COMPRESSED) {
        return Err(FrameError::Extension);
    }
    if header.mask.is_some() {
        return Err(FrameError::Masked);
    }
    match usize::try_from(header.length) {
        Ok(length @ ..=MAX_PAYLOAD) => Ok(length),
        _ => Err(FrameError::TooLong(header.length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket;

    /// Returns a server frame with `first` as its first byte.
    fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
        let frame = websocket::RawFrame { masked: false, ..websocket::RawFrame::new(opcode::TEXT, payload) };
        let mut bytes = frame.to_bytes();
        bytes[0] = first;
        bytes
    }

    #[test]
    fn every_length_form_is_decoded_and_a_prefix_never_is() {
        for length in [0, 1, 125, 126, 65_535, 65_536, MAX_PAYLOAD] {
            let payload = vec![b'x'; length];
            let bytes = unmasked(0x81, &payload);
            let (frame, used) = decode(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload.len(), used), (opcode::TEXT, length, bytes.len()));
            for cut in [0, 1, bytes.len() - 1] {
                assert_eq!(decode(&bytes[..cut]).unwrap(), None, "{cut} of {length}");
            }
        }
    }

    #[test]
    fn the_next_frame_starts_after_the_first() {
        let mut bytes = unmasked(0x81, b"one");
        bytes.extend(unmasked(0x89, b""));
        let (_, used) = decode(&bytes).unwrap().unwrap();
        assert_eq!(decode(&bytes[used..]).unwrap().unwrap().0.opcode, opcode::PING);
    }

    #[test]
    fn invalid_frames_are_rejected() {
        assert_eq!(decode(&unmasked(0x01, b"part")), Err(FrameError::Fragmented));
        assert_eq!(decode(&unmasked(0x80, b"rest")), Err(FrameError::Fragmented));
        assert_eq!(decode(&unmasked(0xa1, b"unknown")), Err(FrameError::Extension));
        assert_eq!(decode(&unmasked(0xe1, b"deflate and more")), Err(FrameError::Extension));
        assert_eq!(decode(&unmasked(0xc9, b"deflate")), Err(FrameError::Extension));
        assert_eq!(decode(&unmasked(0x83, b"")), Err(FrameError::Opcode(3)));
        assert_eq!(decode(&websocket::encode(opcode::TEXT, b"masked")), Err(FrameError::Masked));
        let long = unmasked(0x82, &vec![0; MAX_PAYLOAD + 1]);
        assert_eq!(decode(&long[..10]), Err(FrameError::TooLong(MAX_PAYLOAD as u64 + 1)));
    }
}
