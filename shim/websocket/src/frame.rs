//! WebSocket frames (RFC 6455 section 5): parsing and writing of headers, masking.
//!
//! These are pure functions over byte slices. The socket interprets the frames and limits their size.

/// Kind of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Further fragment of a message.
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// Header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// FIN: this is the last frame of its message.
    pub fin: bool,
    /// RSV1: the message is compressed.
    pub compressed: bool,
    pub opcode: Opcode,
    /// Masking key; `None` for an unmasked frame.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload in bytes.
    pub payload_bytes: u64,
    /// Length of the header in bytes.
    pub header_bytes: usize,
}

/// Error of a header that violates RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeaderError;

impl Opcode {
    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl FrameHeader {
    /// Parses the header at the beginning of `bytes`; returns `None` while it is incomplete.
    ///
    /// # Errors
    /// [`FrameHeaderError`] for RSV2 and RSV3, reserved opcodes, fragmented or long control frames, and a length with
    /// its top bit set.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameHeaderError> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = Opcode::from_code(first & 0x0F).ok_or(FrameHeaderError)?;
        let (fin, compressed, short) = (first & 0x80 != 0, first & 0x40 != 0, second & 0x7F);
        if first & 0x30 != 0 || (opcode.is_control() && (!fin || compressed || short > 125)) {
            return Err(FrameHeaderError);
        }
        let (payload_bytes, rest, length_bytes) = match short {
            126 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*length)), rest, 2)
            }
            127 => {
                let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*length), rest, 8)
            }
            short => (u64::from(short), rest, 0),
        };
        if payload_bytes >> 63 != 0 {
            return Err(FrameHeaderError);
        }
        let masked = second & 0x80 != 0;
        let mask = match (masked, rest.first_chunk()) {
            (false, _) => None,
            (true, Some(mask)) => Some(*mask),
            (true, None) => return Ok(None),
        };
        let header_bytes = 2 + length_bytes + if masked { 4 } else { 0 };
        Ok(Some(Self { fin, compressed, opcode, mask, payload_bytes, header_bytes }))
    }
}

/// Appends an unmasked frame to `out`.
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, last: bool, compressed: bool, payload: &[u8]) {
    let first = opcode.code() | if last { 0x80 } else { 0 } | if compressed { 0x40 } else { 0 };
    out.reserve(10 + payload.len());
    match payload.len() {
        short @ 0..=125 => out.extend_from_slice(&[first, short as u8]),
        medium @ 126..=0xFFFF => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

/// Masks or unmasks in place (RFC 6455 section 5.3), eight bytes at a time.
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masked_hello_of_the_rfc_is_parsed() {
        // RFC 6455 section 5.7, a single-frame masked text message.
        let bytes = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let header = FrameHeader::parse(&bytes).unwrap().unwrap();
        assert_eq!((header.fin, header.opcode, header.payload_bytes, header.header_bytes), (true, Opcode::Text, 5, 6));
        let mut payload = bytes[6..].to_vec();
        apply_mask(&mut payload, header.mask.unwrap());
        assert_eq!(payload, b"Hello");
    }

    #[test]
    fn every_length_form_is_parsed_only_when_complete() {
        for length in [0, 1, 125, 126, 0xFFFF, 0x1_0000] {
            let mut bytes = Vec::new();
            write_frame(&mut bytes, Opcode::Text, true, false, &vec![b'x'; length]);
            let header = FrameHeader::parse(&bytes).unwrap().unwrap();
            assert_eq!((header.payload_bytes, bytes.len() - header.header_bytes), (length as u64, length));
            for cut in 0..header.header_bytes {
                assert_eq!(FrameHeader::parse(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn forbidden_headers_are_rejected() {
        for bytes in [[0xA1, 0x80], [0x91, 0x80], [0x83, 0x80], [0x8B, 0x80], [0x09, 0x80], [0x89, 0xFE], [0xC8, 0x80]]
        {
            assert_eq!(FrameHeader::parse(&bytes), Err(FrameHeaderError), "{bytes:x?}");
        }
        let mut oversized = vec![0x81, 0xFF];
        oversized.extend_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(FrameHeader::parse(&oversized), Err(FrameHeaderError));
    }

    #[test]
    fn masking_works_for_any_length() {
        for length in 0..40 {
            let plain: Vec<u8> = (0..length).collect();
            let mut masked = plain.clone();
            apply_mask(&mut masked, [1, 2, 3, 4]);
            let naive: Vec<u8> = plain.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(masked, naive);
        }
    }
}
