//! Messages compressed as RFC 7692 (permessage-deflate) has it, without compressor or inflater per connection.
//!
//! Both are borrowed from the thread for one message: about 260 KiB and 50 KiB that exist once per thread that needs them.
//! What a client may refer back to is kept as plain text instead and given to the inflater as a dictionary. Invariants:
//! a compressed text refers to nothing outside itself, so that one serves every receiver; inflating never holds more than
//! the limit that it is given. Numbers: `docs/adr/0007-permessage-deflate.md`.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use gateway::handshake::DeflateAgreement;

/// The base-2 logarithm of the window in which texts are compressed. It is what clients that ask for a smaller one are known
/// to ask for (HS-2); a larger one saves little, and with this one they can take the text that was compressed for all.
const WINDOW_BITS: u8 = 12;
/// The window of a client that does not say otherwise (RFC 7692 section 7.1.2).
const FULL_WINDOW_BITS: u8 = 15;
/// What of a client's messages it may refer back to, in bytes.
const CLIENT_WINDOW_BYTES: usize = 1 << FULL_WINDOW_BITS;
/// The lowest level with Huffman codes made for the text: a quarter smaller than level 1; levels above it take up to
/// twice its time for a tenth.
const COMPRESSION_LEVEL: u32 = 2;
/// Texts below this are sent as they are: compressing one costs ten times what sending it does, for 200 bytes at best.
const MIN_TEXT_BYTES: usize = 512;
/// What ends every flush, is not sent, and is put back before inflating (RFC 7692 sections 7.2.1 and 7.2.2).
const FLUSH_TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];
/// The same, and an empty final block behind it: only a message that is whole ends the stream exactly there.
const STREAM_END: [u8; 6] = [0, 0, 0xFF, 0xFF, 0x03, 0x00];
/// Final blocks that a client may put into one message (RFC 7692 section 7.2.3.4). Each costs a fresh start, so a client
/// that sends thousands is not indulged; one is what real ones send.
const MAX_FINAL_BLOCKS: u8 = 8;
/// Scratch beyond this is not kept.
const MAX_POOLED_SCRATCH_BYTES: usize = 128 * 1024 + 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<(Compress, Vec<u8>)>> = const { RefCell::new(None) };
    static INFLATER: RefCell<Option<(Decompress, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Why a compressed message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// It is longer than the limit.
    TooLong,
    /// It is no deflate stream, or not a whole one.
    Corrupt,
}

/// One connection's share: what was agreed, and what its client may refer back to.
pub struct DeflateContext {
    server_window_bits: u8,
    keeps_context: bool,
    window: Vec<u8>,
}

impl DeflateContext {
    /// As both sides agreed.
    pub fn new(agreement: &DeflateAgreement) -> Self {
        Self {
            server_window_bits: agreement.server_max_window_bits.unwrap_or(FULL_WINDOW_BITS),
            keeps_context: !agreement.client_no_context_takeover,
            window: Vec::new(),
        }
    }

    /// Whether this client can take a text of so many bytes from [`compress_text`]: no reference reaches further back than the
    /// text is long.
    pub const fn accepts_length(&self, bytes: usize) -> bool {
        self.server_window_bits >= WINDOW_BITS || bytes <= 1 << self.server_window_bits
    }

    /// Inflates a message's payload, all its frames together, to at most `limit` bytes. A payload without a byte is taken
    /// for an empty message, as other servers do, although RFC 7692 section 7.2.3.6 has a byte for it.
    ///
    /// # Errors
    /// [`InflateError`]; nothing more can be read from this client then, because both sides' windows differ.
    pub fn inflate_message(&mut self, payload: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
        if payload.is_empty() {
            return Ok(Vec::new());
        }
        INFLATER.with_borrow_mut(|kept| {
            let (inflater, scratch) = kept.get_or_insert_with(|| (Decompress::new(false), vec![0; 4096]));
            let mut run = MessageInflater {
                inflater,
                scratch,
                length: 0,
                limit,
                window: &self.window,
                ended: false,
                final_blocks: 0,
            };
            let text = run.inflate_all(payload)?.to_vec();
            if scratch.len() > MAX_POOLED_SCRATCH_BYTES {
                *kept = None;
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
        // In small steps: most clients of a quiet application never send a whole window.
        let room = (self.window.len() + text.len()).next_multiple_of(512);
        self.window.reserve_exact(room - self.window.len());
        self.window.extend_from_slice(text);
    }
}

/// Compresses a text by itself; `None` where that saves nothing. Takes 15 µs and more: for a message to many, do it once.
pub fn compress_text(text: &[u8]) -> Option<Box<[u8]>> {
    if text.len() < MIN_TEXT_BYTES {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let fresh =
            || (Compress::new_with_window_bits(Compression::new(COMPRESSION_LEVEL), false, WINDOW_BITS), Vec::new());
        let (compressor, scratch) = kept.get_or_insert_with(fresh);
        if scratch.len() < text.len() {
            scratch.resize(text.len(), 0);
        }
        compressor.reset();
        compressor.compress(text, &mut scratch[..text.len()], FlushCompress::Sync).ok()?;
        let length = compressor.total_out() as usize;
        // Output that fills its room may have been cut off, and has not become shorter in any case.
        let whole = compressor.total_in() as usize == text.len() && length < text.len();
        let compressed = whole.then(|| scratch[..length].strip_suffix(&FLUSH_TAIL).map(Box::from)).flatten();
        if scratch.len() > MAX_POOLED_SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        compressed
    })
}

/// One message on its way through the thread's inflater.
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

    /// Begins a stream that may refer back to the window and to what this message has been so far.
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

    /// Inflates into what room there is: bytes read and written.
    fn inflate_step(&mut self, input: &[u8]) -> Result<(usize, usize), InflateError> {
        let before = (self.inflater.total_in(), self.inflater.total_out());
        let room = &mut self.scratch[self.length..];
        let status = self.inflater.decompress(input, room, FlushDecompress::None);
        self.ended = status.map_err(|_| InflateError::Corrupt)? == Status::StreamEnd;
        let read = (self.inflater.total_in() - before.0) as usize;
        let wrote = (self.inflater.total_out() - before.1) as usize;
        self.length += wrote;
        if self.length > self.limit { Err(InflateError::TooLong) } else { Ok((read, wrote)) }
    }

    /// Makes room, up to one byte beyond the limit: the byte that shows that a message is longer.
    fn grow_output(&mut self) -> Result<(), InflateError> {
        let most = self.limit + 1;
        if self.scratch.len() >= most {
            return Err(InflateError::TooLong);
        }
        self.scratch.resize((self.scratch.len() * 2).min(most), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
