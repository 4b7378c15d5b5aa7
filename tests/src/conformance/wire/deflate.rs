//! permessage-deflate for tests (RFC 7692): compressor and decompressor of one client.
//!
//! Both keep their context from message to message, so that context takeover of the server is tested in both
//! directions. Negotiation is done by the caller.

use anyhow::{Context as _, ensure};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::websocket::{COMPRESSED, RawFrame, opcode};

/// Maximum length of a decompressed message in bytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// Suffix of a flush that is not sent (section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Client side of the extension.
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
    /// Compresses a message's payload, with references to earlier messages.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn payload(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<Vec<u8>> {
        let (text, before) = (text.as_ref(), self.compressor.total_out());
        let mut payload = vec![0; text.len() + text.len() / 100 + 64];
        self.compressor.compress(text, &mut payload, FlushCompress::Sync)?;
        payload.truncate((self.compressor.total_out() - before) as usize);
        payload.strip_suffix(&TAIL).map(<[u8]>::to_vec).context("a flush ends with an empty block")
    }

    /// Returns a compressed message in one frame.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn frame(&mut self, text: impl AsRef<[u8]>) -> anyhow::Result<RawFrame> {
        Ok(RawFrame { reserved: COMPRESSED, ..RawFrame::new(opcode::TEXT, self.payload(text)?) })
    }

    /// Decompresses a message's payload.
    ///
    /// # Errors
    /// The payload is invalid, or longer than 1 MiB after decompression.
    pub fn text(&mut self, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
        let before = (self.inflater.total_in(), self.inflater.total_out());
        let mut text = vec![0; MAX_MESSAGE_BYTES];
        let input = [payload, &TAIL].concat();
        self.inflater.decompress(&input, &mut text, FlushDecompress::Sync).context("inflating")?;
        let read = (self.inflater.total_in() - before.0) as usize;
        ensure!(read == input.len(), "{read} of {} bytes were decompressed", input.len());
        text.truncate((self.inflater.total_out() - before.1) as usize);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_round_trip_with_context_takeover() {
        let mut deflate = Deflate::default();
        let text = "a text that is sent twice, compressed better the second time";
        let (first, second) = (deflate.payload(text).unwrap(), deflate.payload(text).unwrap());
        assert!(second.len() < first.len());
        assert_eq!(deflate.text(&first).unwrap(), text.as_bytes());
        assert_eq!(deflate.text(&second).unwrap(), text.as_bytes());
    }
}
