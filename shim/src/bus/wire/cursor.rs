//! Reading bytes from the front, with every step checked.

use super::Malformed;

/// What is still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'p>(pub(super) &'p [u8]);

impl<'p> Cursor<'p> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (byte, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A `u16` length and as many bytes of UTF-8.
    pub(super) fn text(&mut self) -> Result<&'p str, Malformed> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        std::str::from_utf8(self.take(length)?).map_err(|_| Malformed)
    }

    /// Everything that is left, as UTF-8: a WebSocket text frame may hold nothing else.
    pub(super) fn rest(&mut self) -> Result<&'p str, Malformed> {
        let rest = std::mem::take(&mut self.0);
        std::str::from_utf8(rest).map_err(|_| Malformed)
    }

    /// A record's kind and body.
    pub(super) fn record(&mut self) -> Result<(u8, &'p [u8]), Malformed> {
        let kind = self.byte()?;
        let length = u32::from_be_bytes(self.array()?);
        Ok((kind, self.take(usize::try_from(length).map_err(|_| Malformed)?)?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, bytes: usize) -> Result<&'p [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}
