//! WebSocket frames by hand (RFC 6455 section 5.2), valid or not.

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

/// The masking key of every frame: it protects proxies from scripts, and here are neither.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// RSV1 to RSV3 in the three low bits.
    pub reserved: u8,
    /// What it is.
    pub opcode: u8,
    /// Whether it is masked.
    pub masked: bool,
    /// What it carries, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message or control frame as a client sends it.
    #[must_use]
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { fin: true, reserved: 0, opcode, masked: true, payload: payload.into() }
    }

    /// A close frame; without `status` it is empty.
    #[must_use]
    pub fn close(status: Option<(u16, &str)>) -> Self {
        let payload = status.map_or_else(Vec::new, |(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
        Self::new(opcode::CLOSE, payload)
    }

    /// A text message cut into frames of at most `most` bytes.
    #[must_use]
    pub fn fragments(text: &str, most: usize) -> Vec<Self> {
        let chunks: Vec<_> = text.as_bytes().chunks(most).collect();
        let last = chunks.len().saturating_sub(1);
        let frame = |(position, chunk): (usize, &&[u8])| {
            let opcode = if position == 0 { opcode::TEXT } else { opcode::CONTINUATION };
            Self { fin: position == last, ..Self::new(opcode, *chunk) }
        };
        chunks.iter().enumerate().map(frame).collect()
    }

    /// The frame as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.fin) << 7 | self.reserved << 4 | self.opcode];
        let mask_bit = u8::from(self.masked) << 7;
        match (u8::try_from(self.payload.len()), u16::try_from(self.payload.len())) {
            (Ok(length @ ..126), _) => bytes.push(mask_bit | length),
            (_, Ok(length)) => {
                bytes.push(mask_bit | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((self.payload.len() as u64).to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }

    /// The first frame of `bytes` and its length; `None` while it is incomplete.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
        let (length, rest) = match second & 0x7f {
            126 => {
                rest.split_first_chunk::<2>().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?
            }
            127 => rest.split_first_chunk::<8>().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            length => (u64::from(length), rest),
        };
        let masked = second & 0x80 != 0;
        let (mask, rest) = if masked { rest.split_first_chunk::<4>()? } else { (&[0; 4], rest) };
        let length = usize::try_from(length).ok()?;
        let payload = rest.get(..length)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let frame = Self { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 0x0f, masked, payload };
        Some((frame, bytes.len() - rest.len() + length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 131_072] {
            for masked in [true, false] {
                let frame = Frame { masked, ..Frame::new(opcode::TEXT, vec![b'x'; length]) };
                let bytes = frame.to_bytes();
                assert_eq!(Frame::parse(&bytes), Some((frame, bytes.len())), "{length} bytes");
                assert_eq!(Frame::parse(&bytes[..bytes.len() - 1]), None, "{length} bytes less one");
            }
        }
    }

    #[test]
    fn the_example_of_rfc_6455_section_5_7() {
        let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(Frame::new(opcode::TEXT, "Hello").to_bytes(), bytes);
    }

    #[test]
    fn fragments_make_one_message() {
        let frames = Frame::fragments("abcde", 2);
        let kinds: Vec<_> = frames.iter().map(|frame| (frame.fin, frame.opcode, frame.payload.len())).collect();
        assert_eq!(kinds, [(false, 1, 2), (false, 0, 2), (true, 0, 1)]);
    }
}
