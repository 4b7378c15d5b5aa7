//! Bounds-checked reader of a byte slice.

use super::MalformedPayloadError;

/// The unread rest of a payload or body.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteCursor<'p>(pub(super) &'p [u8]);

impl<'p> ByteCursor<'p> {
    pub(super) fn read_byte(&mut self) -> Result<u8, MalformedPayloadError> {
        let (byte, rest) = self.0.split_first().ok_or(MalformedPayloadError)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn read_u64(&mut self) -> Result<u64, MalformedPayloadError> {
        Ok(u64::from_be_bytes(self.read_array()?))
    }

    /// Reads a `u16` length and as many bytes of UTF-8.
    pub(super) fn read_text(&mut self) -> Result<&'p str, MalformedPayloadError> {
        let length = usize::from(u16::from_be_bytes(self.read_array()?));
        std::str::from_utf8(self.take_bytes(length)?).map_err(|_| MalformedPayloadError)
    }

    /// Reads the rest as UTF-8, as required for a WebSocket text message (RFC 6455 section 5.6).
    pub(super) fn read_rest(&mut self) -> Result<&'p str, MalformedPayloadError> {
        let rest = std::mem::take(&mut self.0);
        std::str::from_utf8(rest).map_err(|_| MalformedPayloadError)
    }

    /// Reads a record and returns its kind and body.
    pub(super) fn read_record(&mut self) -> Result<(u8, &'p [u8]), MalformedPayloadError> {
        let kind = self.read_byte()?;
        let length = u32::from_be_bytes(self.read_array()?);
        Ok((kind, self.take_bytes(usize::try_from(length).map_err(|_| MalformedPayloadError)?)?))
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], MalformedPayloadError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(MalformedPayloadError)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take_bytes(&mut self, count: usize) -> Result<&'p [u8], MalformedPayloadError> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(MalformedPayloadError)?;
        self.0 = rest;
        Ok(bytes)
    }
}
