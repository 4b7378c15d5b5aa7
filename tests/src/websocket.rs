//! WebSocket frame codec for tests (RFC 6455 section 5.2), independent of the one under test.
//!
//! [`Header`] is the codec: it neither allocates nor validates, so that the conformance client can send and read
//! invalid frames and the load generator can decode in place. [`RawFrame`] is an owned frame on top of it.

/// The opcodes of RFC 6455 section 5.2.
pub mod opcode {
    /// A further fragment.
    pub const CONTINUATION: u8 = 0;
    /// Text.
    pub const TEXT: u8 = 1;
    /// Binary.
    pub const BINARY: u8 = 2;
    /// Close.
    pub const CLOSE: u8 = 8;
    /// Ping.
    pub const PING: u8 = 9;
    /// Pong.
    pub const PONG: u8 = 10;
}

/// RSV1 in [`Header::reserved`]: the message is compressed, if permessage-deflate was negotiated (RFC 7692 section
/// 6).
pub const COMPRESSED: u8 = 0b100;

/// Largest header in bytes: 2, 8 for the length, 4 for the masking key.
pub const MAX_HEADER: usize = 14;

/// Masking key of every frame, from the example in RFC 6455 section 5.7. Random keys protect proxies from scripts
/// (section 10.3), and tests have neither. It is not zero, so that the server has to unmask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// RSV1 to RSV3 in the three low bits.
    pub reserved: u8,
    /// Opcode, one of [`opcode`] or reserved.
    pub opcode: u8,
    /// The masking key, if the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload in bytes.
    pub length: u64,
}

impl Header {
    /// Parses the header at the front of `bytes` and returns it with its size in bytes; `None` while it is incomplete.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (u64::from(length), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk::<4>()?;
            (Some(*mask), rest)
        };
        let header = Self { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 0x0f, mask, length };
        Some((header, bytes.len() - rest.len()))
    }

    /// Appends the header to `bytes`, with the shortest form of the length.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode);
        let mask_bit = u8::from(self.mask.is_some()) << 7;
        match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(length @ ..126), _) => bytes.push(mask_bit | length),
            (_, Ok(length)) => {
                bytes.push(mask_bit | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend(self.length.to_be_bytes());
            }
        }
        bytes.extend(self.mask.iter().flatten());
    }
}

/// Appends the header and `payload` to `bytes`, masked with the header's key.
fn write(bytes: &mut Vec<u8>, header: Header, payload: &[u8]) {
    header.write(bytes);
    match header.mask {
        Some(mask) => bytes.extend(unmask(payload, mask)),
        None => bytes.extend(payload),
    }
}

/// Masks or unmasks a payload; both are the same operation (section 5.3).
fn unmask(payload: &[u8], mask: [u8; 4]) -> impl Iterator<Item = u8> {
    payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask)
}

/// Appends a complete message or control frame, as a client sends it, to `bytes`.
pub fn write_frame(bytes: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    bytes.reserve(MAX_HEADER + payload.len());
    let header = Header { fin: true, reserved: 0, opcode, mask: Some(MASK), length: payload.len() as u64 };
    write(bytes, header, payload);
}

/// Returns a complete message or control frame as a client sends it.
#[must_use]
pub fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, opcode, payload);
    bytes
}

/// One frame with its payload, valid or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Whether the frame is the last of its message.
    pub fin: bool,
    /// RSV1 to RSV3 in the three low bits.
    pub reserved: u8,
    /// Opcode.
    pub opcode: u8,
    /// Whether the payload is masked on the wire.
    pub masked: bool,
    /// Payload, unmasked.
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// Returns a complete message or control frame as a client sends it.
    #[must_use]
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, reserved: 0, opcode, masked: true, payload: payload.into() }
    }

    /// Returns a close frame; without `status` its payload is empty.
    #[must_use]
    pub fn close(status: Option<(u16, &str)>) -> Self {
        let payload = status.map_or_else(Vec::new, |(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
        Self::new(opcode::CLOSE, payload)
    }

    /// Splits a text message into frames of at most `max` bytes.
    #[must_use]
    pub fn fragments(text: &str, max: usize) -> Vec<Self> {
        let chunks: Vec<_> = text.as_bytes().chunks(max).collect();
        let last = chunks.len().saturating_sub(1);
        let frame = |(position, chunk): (usize, &&[u8])| {
            let opcode = if position == 0 { opcode::TEXT } else { opcode::CONTINUATION };
            Self { fin: position == last, ..Self::new(opcode, *chunk) }
        };
        chunks.iter().enumerate().map(frame).collect()
    }

    /// Returns the frame as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { fin, reserved, opcode, masked, ref payload } = *self;
        let header = Header { fin, reserved, opcode, mask: masked.then_some(MASK), length: payload.len() as u64 };
        let mut bytes = Vec::with_capacity(MAX_HEADER + payload.len());
        write(&mut bytes, header, payload);
        bytes
    }

    /// Parses the first frame of `bytes` and returns it with its length; `None` while it is incomplete.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (header, start) = Header::parse(bytes)?;
        let end = start.checked_add(usize::try_from(header.length).ok()?)?;
        let payload = unmask(bytes.get(start..end)?, header.mask.unwrap_or_default()).collect();
        let Header { fin, reserved, opcode, mask, .. } = header;
        Some((Self { fin, reserved, opcode, masked: mask.is_some(), payload }, end))
    }
}

/// Returns the code and the reason in a close frame's payload, or `None` without a code (section 5.5.1).
#[must_use]
pub fn close_status(payload: &[u8]) -> Option<(u16, &[u8])> {
    payload.split_first_chunk::<2>().map(|(code, reason)| (u16::from_be_bytes(*code), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 131_072] {
            for masked in [true, false] {
                let frame = RawFrame { masked, ..RawFrame::new(opcode::TEXT, vec![b'x'; length]) };
                let bytes = frame.to_bytes();
                assert_eq!(RawFrame::parse(&bytes), Some((frame, bytes.len())), "{length} bytes");
                assert_eq!(RawFrame::parse(&bytes[..bytes.len() - 1]), None, "{length} bytes less one");
            }
        }
    }

    #[test]
    fn every_bit_of_a_header_survives_the_wire() {
        for first in 0..=u8::MAX {
            let bytes = [first, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
            let (frame, used) = RawFrame::parse(&bytes).unwrap();
            assert_eq!((frame.payload.as_slice(), used), (b"hi".as_slice(), 8));
            assert_eq!(frame.to_bytes()[..2], bytes[..2]);
        }
    }

    #[test]
    fn the_examples_of_rfc_6455_section_5_7() {
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(RawFrame::new(opcode::TEXT, "Hello").to_bytes(), masked);
        assert_eq!(encode(opcode::TEXT, b"Hello"), masked);
        let unmasked = RawFrame { masked: false, ..RawFrame::new(opcode::TEXT, "Hello") };
        assert_eq!(unmasked.to_bytes(), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let long = RawFrame { masked: false, ..RawFrame::new(opcode::BINARY, [0; 65_536]) };
        assert_eq!(long.to_bytes()[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_above_the_address_space_is_an_incomplete_frame() {
        let bytes = [[0x82, 0x7f].as_slice(), &[0xff; 8]].concat();
        assert_eq!(Header::parse(&bytes).unwrap().0.length, u64::MAX);
        assert_eq!(RawFrame::parse(&bytes), None);
    }

    #[test]
    fn fragments_make_one_message() {
        let frames = RawFrame::fragments("abcde", 2);
        let kinds: Vec<_> = frames.iter().map(|frame| (frame.fin, frame.opcode, frame.payload.len())).collect();
        assert_eq!(kinds, [(false, 1, 2), (false, 0, 2), (true, 0, 1)]);
    }
}
