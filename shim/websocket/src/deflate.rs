//! permessage-deflate (RFC 7692) without a compressor or inflater per connection.
//!
//! Both are thread-local and used for one message at a time: about 260 KiB and 50 KiB per thread that needs them. The
//! client's window is stored as plain text and set as the inflater's dictionary. A compressed text has no references to
//! earlier messages, so that all receivers can share it. Decompression allocates no more than its limit. Measurements:
//! `docs/adr/0007-permessage-deflate.md`.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use gateway::handshake::DeflateAgreement;

/// Base-2 logarithm of the window in which texts are compressed: the value that clients which request a smaller window
/// are known to use (HS-2), so that they can receive the shared compressed text. A larger window saves little.
const WINDOW_BITS: u8 = 12;
/// Default window (RFC 7692 section 7.1.2).
const FULL_WINDOW_BITS: u8 = 15;
/// Window of the client's messages in bytes.
const CLIENT_WINDOW_BYTES: usize = 1 << FULL_WINDOW_BITS;
/// Lowest level with dynamic Huffman codes: output a quarter smaller than that of level 1. Higher levels take up to
/// twice the time and save another tenth.
const COMPRESSION_LEVEL: u32 = 2;
/// Minimum size of a compressed text. Compressing a smaller one takes ten times as long as sending it and saves at most
/// 200 bytes.
const MIN_TEXT_BYTES: usize = 512;
/// End of a sync flush, which is removed before sending and appended before inflating (RFC 7692 sections 7.2.1 and
/// 7.2.2).
const FLUSH_TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
/// [`FLUSH_TAIL`] and an empty final block. The stream ends exactly there only if the message is complete.
const STREAM_END: [u8; 6] = [0, 0, 0xFF, 0xFF, 0x03, 0x00];
/// Maximum final blocks in one message (RFC 7692 section 7.2.3.4). Each one resets the inflater, which is expensive;
/// real clients send one.
const MAX_FINAL_BLOCKS: u8 = 8;
/// Maximum bytes of a scratch buffer that is retained between messages.
const MAX_POOLED_SCRATCH_BYTES: usize = 128 * 1024 + 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<(Compress, Vec<u8>)>> = const { RefCell::new(None) };
    static INFLATER: RefCell<Option<(Decompress, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Error of inflating a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// The message is longer than the limit.
    TooLong,
    /// The payload is not a complete deflate stream.
    Corrupt,
}

/// Compression state of one connection: negotiated parameters and the window of the client's messages.
pub struct DeflateContext {
    server_window_bits: u8,
    keeps_context: bool,
    window: Vec<u8>,
}

impl DeflateContext {
    /// Creates the state for the negotiated parameters.
    pub fn new(agreement: &DeflateAgreement) -> Self {
        Self {
            server_window_bits: agreement.server_max_window_bits.unwrap_or(FULL_WINDOW_BITS),
            keeps_context: !agreement.client_no_context_takeover,
            window: Vec::new(),
        }
    }

    /// Returns whether this client can inflate a text of `bytes` bytes from [`compress_text`]. References reach back at
    /// most as far as the text is long, so a short text fits any window.
    pub const fn accepts_length(&self, bytes: usize) -> bool {
        self.server_window_bits >= WINDOW_BITS || bytes <= 1 << self.server_window_bits
    }

    /// Inflates the payload of a message, over all its frames, to at most `limit` bytes. An empty payload is an empty
    /// message, as in other servers, although RFC 7692 section 7.2.3.6 encodes it in one byte.
    ///
    /// # Errors
    /// [`InflateError`]; no further message of this client can be inflated, because the windows of both sides differ.
    pub fn inflate_message(&mut self, payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        if payload.is_empty() {
            return Ok(Vec::new());
        }
        INFLATER.with_borrow_mut(|slot| {
            let (inflater, scratch) = slot.get_or_insert_with(|| (Decompress::new(false), vec![0; 4096]));
            let mut message = MessageInflater {
                inflater,
                scratch,
                length: 0,
                limit,
                window: &self.window,
                ended: false,
                final_blocks: 0,
            };
            let text = message.inflate_all(payload)?.to_vec();
            if scratch.len() > MAX_POOLED_SCRATCH_BYTES {
                *slot = None;
            }
            if self.keeps_context {
                self.extend_window(&text);
            }
            Ok(text)
        })
    }

    fn extend_window(&mut self, text: &[u8]) {
        let text = &text[text.len().saturating_sub(CLIENT_WINDOW_BYTES)..];
        let excess = (self.window.len() + text.len()).saturating_sub(CLIENT_WINDOW_BYTES);
        self.window.drain(..excess);
        // Grows in small steps, because many clients never send a full window.
        let capacity = (self.window.len() + text.len()).next_multiple_of(512);
        self.window.reserve_exact(capacity - self.window.len());
        self.window.extend_from_slice(text);
    }
}

/// Compresses a text independently of other messages; returns `None` when that saves nothing. Takes 15 µs or more, so
/// share the result between receivers.
pub fn compress_text(text: &[u8]) -> Option<Box<[u8]>> {
    if text.len() < MIN_TEXT_BYTES {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|slot| {
        let fresh =
            || (Compress::new_with_window_bits(Compression::new(COMPRESSION_LEVEL), false, WINDOW_BITS), Vec::new());
        let (compressor, scratch) = slot.get_or_insert_with(fresh);
        if scratch.len() < text.len() {
            scratch.resize(text.len(), 0);
        }
        compressor.reset();
        compressor.compress(text, &mut scratch[..text.len()], FlushCompress::Sync).ok()?;
        let length = compressor.total_out() as usize;
        // Output that fills the buffer may be truncated, and is not shorter than the text.
        let complete = compressor.total_in() as usize == text.len() && length < text.len();
        let compressed = complete.then(|| scratch[..length].strip_suffix(&FLUSH_TAIL).map(Box::from)).flatten();
        if scratch.len() > MAX_POOLED_SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        compressed
    })
}

/// Inflation of one message with the thread's inflater.
struct MessageInflater<'a> {
    inflater: &'a mut Decompress,
    scratch: &'a mut Vec<u8>,
    length: usize,
    limit: usize,
    window: &'a [u8],
    ended: bool,
    final_blocks: u8,
}

impl MessageInflater<'_> {
    fn inflate_all(&mut self, payload: &[u8]) -> Result<&[u8], InflateError> {
        self.start_stream()?;
        self.inflate_input(payload)?;
        self.inflate_input(&STREAM_END)?;
        if self.ended { Ok(&self.scratch[..self.length]) } else { Err(InflateError::Corrupt) }
    }

    /// Resets the inflater; the new stream may refer to the window and to the message's output so far.
    fn start_stream(&mut self) -> Result<(), InflateError> {
        self.inflater.reset(false);
        self.ended = false;
        let so_far = &self.scratch[self.length.saturating_sub(CLIENT_WINDOW_BYTES)..self.length];
        for dictionary in [self.window, so_far] {
            if !dictionary.is_empty() {
                self.inflater.set_dictionary(dictionary).map_err(|_| InflateError::Corrupt)?;
            }
        }
        Ok(())
    }

    fn inflate_input(&mut self, mut input: &[u8]) -> Result<(), InflateError> {
        loop {
            if self.ended {
                if input.is_empty() {
                    return Ok(());
                }
                self.final_blocks += 1;
                if self.final_blocks > MAX_FINAL_BLOCKS {
                    return Err(InflateError::Corrupt);
                }
                self.start_stream()?;
            }
            let (read, wrote) = self.inflate_step(input)?;
            input = &input[read..];
            let full = self.length == self.scratch.len();
            if full {
                self.grow_output()?;
            } else if input.is_empty() && !self.ended {
                return Ok(());
            } else if read == 0 && wrote == 0 && !self.ended {
                return Err(InflateError::Corrupt);
            }
        }
    }

    /// Inflates into the free part of the output; returns the bytes read and written.
    fn inflate_step(&mut self, input: &[u8]) -> Result<(usize, usize), InflateError> {
        let before = (self.inflater.total_in(), self.inflater.total_out());
        let free = &mut self.scratch[self.length..];
        let status = self.inflater.decompress(input, free, FlushDecompress::None);
        self.ended = status.map_err(|_| InflateError::Corrupt)? == Status::StreamEnd;
        let read = (self.inflater.total_in() - before.0) as usize;
        let wrote = (self.inflater.total_out() - before.1) as usize;
        self.length += wrote;
        if self.length > self.limit { Err(InflateError::TooLong) } else { Ok((read, wrote)) }
    }

    /// Grows the output up to one byte more than the limit; that byte detects a longer message.
    fn grow_output(&mut self) -> Result<(), InflateError> {
        let max_bytes = self.limit + 1;
        if self.scratch.len() >= max_bytes {
            return Err(InflateError::TooLong);
        }
        self.scratch.resize((self.scratch.len() * 2).min(max_bytes), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
