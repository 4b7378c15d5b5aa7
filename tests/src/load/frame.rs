//! The client's half of RFC 6455 framing: masked frames out, unmasked and unfragmented frames in.
//!
//! Invariant: a frame is decoded only when all of it is there; nothing is copied. Fragmented messages are refused, because
//! counting frames would then not be counting messages. No UTF-8 check: the server is under test, not the text.

use std::fmt;

/// The longest payload taken from a server, in bytes: twice API Gateway's message quota of 128 KiB would be too long for
/// any scenario here, and the bound keeps the shared read buffer small.
pub const MAX_PAYLOAD: usize = 192 * 1024;

/// Most bytes that the header of a server's frame takes (RFC 6455 section 5.2: 2 + 8, no mask).
pub const MAX_HEADER: usize = 10;

/// One mask for all frames. A client must choose masks at random to protect proxies (RFC 6455 section 10.3); on loopback
/// there is none, and a fixed mask lets one frame be built once. It is not zero, so that the server does the real work.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x3c, 0xa5];

/// What a frame is for (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opcode {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
    /// The end of the conversation.
    Close,
    /// A question whether the peer is alive.
    Ping,
    /// The answer to it.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, FrameError> {
        match bits {
            0x1 => Ok(Self::Text),
            0x2 => Ok(Self::Binary),
            0x8 => Ok(Self::Close),
            0x9 => Ok(Self::Ping),
            0xa => Ok(Self::Pong),
            0x0 => Err(FrameError::Fragmented),
            _ => Err(FrameError::Opcode(bits)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

/// One whole frame of a server, borrowed from the read buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Frame<'a> {
    /// What it is for.
    pub opcode: Opcode,
    /// Whether RSV1 is set: a compressed message, where that was agreed to.
    pub compressed: bool,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Why bytes of a server are not a frame that this generator takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FrameError {
    /// The message is in several frames.
    Fragmented,
    /// A reserved opcode.
    Opcode(u8),
    /// A reserved bit is set that no agreed extension uses.
    Extension,
    /// Servers never mask (RFC 6455 section 5.1).
    Masked,
    /// The payload is longer than [`MAX_PAYLOAD`].
    TooLong(u64),
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fragmented => write!(formatter, "the server fragments its messages, which are then not countable"),
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

/// Builds one masked frame.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode.bits());
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes the first frame of `bytes`: the frame and how many bytes it took, or `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError`] when the bytes can never become a frame that this generator takes.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    let opcode = Opcode::from_bits(first & 0x0f)?;
    if first & 0x80 == 0 {
        return Err(FrameError::Fragmented);
    }
    let compressed = first & 0x40 != 0;
    if first & 0x30 != 0 || (compressed && !matches!(opcode, Opcode::Text | Opcode::Binary)) {
        return Err(FrameError::Extension);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let Some((length, header)) = payload_length(second, rest) else { return Ok(None) };
    if length > MAX_PAYLOAD as u64 {
        return Err(FrameError::TooLong(length));
    }
    let end = header + length as usize;
    Ok(bytes.get(header..end).map(|payload| (Frame { opcode, compressed, payload }, end)))
}

/// The payload's length and the header's, from the second byte and what follows it.
fn payload_length(second: u8, rest: &[u8]) -> Option<(u64, usize)> {
    match second & 0x7f {
        126 => rest.first_chunk::<2>().map(|bytes| (u64::from(u16::from_be_bytes(*bytes)), 4)),
        127 => rest.first_chunk::<8>().map(|bytes| (u64::from_be_bytes(*bytes), 10)),
        short => Some((u64::from(short), 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let masked = encode(Opcode::Text, payload);
        let header = masked.len() - payload.len() - 4;
        let mut frame = masked[..header].to_vec();
        frame[0] = opcode;
        frame[1] &= 0x7f;
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn a_masked_frame_is_the_one_of_the_rfc_with_our_mask() {
        let frame = encode(Opcode::Text, b"Hello");
        assert_eq!(frame[..2], [0x81, 0x85]);
        assert_eq!(frame[2..6], MASK);
        let clear: Vec<u8> = frame[6..].iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b).collect();
        assert_eq!(clear, b"Hello");
    }

    #[test]
    fn every_length_form_is_decoded_and_a_prefix_never_is() {
        for length in [0, 1, 125, 126, 65_535, 65_536, MAX_PAYLOAD] {
            let payload = vec![b'x'; length];
            let bytes = unmasked(0x81, &payload);
            let (frame, used) = decode(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload.len(), used), (Opcode::Text, length, bytes.len()));
            for cut in [0, 1, bytes.len() - 1] {
                assert_eq!(decode(&bytes[..cut]).unwrap(), None, "{cut} of {length}");
            }
        }
    }

    #[test]
    fn the_next_frame_begins_where_the_first_ended() {
        let mut bytes = unmasked(0x81, b"one");
        bytes.extend(unmasked(0x89, b""));
        let (_, used) = decode(&bytes).unwrap().unwrap();
        assert_eq!(decode(&bytes[used..]).unwrap().unwrap().0.opcode, Opcode::Ping);
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        assert_eq!(decode(&unmasked(0x01, b"part")), Err(FrameError::Fragmented));
        assert_eq!(decode(&unmasked(0x80, b"rest")), Err(FrameError::Fragmented));
        assert_eq!(decode(&unmasked(0xa1, b"who knows")), Err(FrameError::Extension));
        assert_eq!(decode(&unmasked(0xc9, b"deflate")), Err(FrameError::Extension));
        assert_eq!(decode(&unmasked(0x83, b"")), Err(FrameError::Opcode(3)));
        assert_eq!(decode(&encode(Opcode::Text, b"masked")), Err(FrameError::Masked));
        let long = unmasked(0x82, &vec![0; MAX_PAYLOAD + 1]);
        assert_eq!(decode(&long[..10]), Err(FrameError::TooLong(MAX_PAYLOAD as u64 + 1)));
    }
}
