//! permessage-deflate by hand (RFC 7692): one client's compressor and inflater.
//!
//! Both keep their window from message to message unless told otherwise, so that a server that refers back, and one that
//! has to be referred back to, are checked as well. Nothing here decides what was agreed.

use anyhow::{Context as _, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::websocket::{COMPRESSED, RawFrame, opcode};

/// Most bytes of a message that is inflated.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// What ends a flush and is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A client's side of the extension.
pub struct Deflate {
    compressor: Compress,
    inflater: Decompress,
}

impl Default for Deflate {
    fn default() -> Self {
        Self { compressor: Compress::new(Compression::best(), false), inflater: Decompress::new(false) }
    }
}

impl Deflate {
    /// A message's payload; it may refer back to the messages before it.
    ///
    /// # Errors
    /// The compressor fails, which it does not.
    pub fn payload(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<Vec<u8>> {
        let (text, before) = (text.as_ref(), self.compressor.total_out());
        let mut payload = vec![0; text.len() + text.len() / 100 + 64];
        self.compressor.compress(text, &mut payload, FlushCompress::Sync)?;
        payload.truncate((self.compressor.total_out() - before) as usize);
        payload.strip_suffix(&TAIL).map(<[u8]>::to_vec).context("a flush ends with an empty block")
    }

    /// A whole message in one frame.
    ///
    /// # Errors
    /// As [`Self::payload`].
    pub fn frame(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<RawFrame> {
        Ok(RawFrame { reserved: COMPRESSED, ..RawFrame::new(opcode::TEXT, self.payload(text)?) })
    }

    /// What a message's payload inflates to.
    ///
    /// # Errors
    /// It does not inflate, or to more than a mebibyte.
    pub fn text(&mut self, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
        let before = (self.inflater.total_in(), self.inflater.total_out());
        let mut text = vec![0; MESSAGE_BYTES];
        let input = [payload, &TAIL].concat();
        self.inflater.decompress(&input, &mut text, FlushDecompress::Sync).context("inflating")?;
        let read = (self.inflater.total_in() - before.0) as usize;
        ensure!(read == input.len(), "{read} of {} bytes were inflated", input.len());
        text.truncate((self.inflater.total_out() - before.1) as usize);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_and_refer_back() {
        let mut deflate = Deflate::default();
        let text = "a text that comes twice, once in full";
        let (first, second) = (deflate.payload(text).unwrap(), deflate.payload(text).unwrap());
        assert!(second.len() < first.len());
        assert_eq!(deflate.text(&first).unwrap(), text.as_bytes());
        assert_eq!(deflate.text(&second).unwrap(), text.as_bytes());
    }
}
