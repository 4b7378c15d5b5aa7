//! Frames into messages: fragments are put together, compressed ones inflated, text is checked.
//!
//! Invariant: of a message under way no more is held than the socket's limit allows, and inflating stops there as well.
//! UTF-8 is checked when a message is whole, because a character may stand across two frames; so may whatever a
//! compressor wrote. Which frame may come when is the socket's to check.

use gateway::handshake::DeflateAgreement;

use super::frame::{Header, Opcode};
use super::message::{Message, ReadError};
use crate::deflate::{Deflate, InflateError};

/// What a connection holds between two frames.
#[derive(Default)]
pub struct Assembly {
    begun: Option<Box<Begun>>,
    deflate: Option<Box<Deflate>>,
}

/// A message whose last frame has not come.
struct Begun {
    payload: Vec<u8>,
    compressed: bool,
}

impl Assembly {
    /// For a connection that agreed to compress.
    pub fn compressed(agreement: &DeflateAgreement) -> Self {
        Self { begun: None, deflate: Some(Box::new(Deflate::new(agreement))) }
    }

    /// What was agreed about compression, if anything was.
    pub fn deflate(&self) -> Option<&Deflate> {
        self.deflate.as_deref()
    }

    /// Whether a message is under way.
    pub const fn is_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// How many bytes of payload there are so far.
    pub fn len(&self) -> usize {
        self.begun.as_ref().map_or(0, |begun| begun.payload.len())
    }

    /// Takes a frame that may come now, its payload unmasked; a message if it is whole now, of at most `limit` bytes.
    pub fn take(&mut self, header: &Header, payload: &[u8], limit: usize) -> Result<Option<Message>, ReadError> {
        match header.opcode {
            Opcode::Text if header.last && !header.compressed => text(payload.to_vec()).map(Some),
            Opcode::Text if header.last => self.inflate(payload, limit).map(Some),
            Opcode::Text => {
                self.begun = Some(Box::new(Begun { payload: payload.to_vec(), compressed: header.compressed }));
                Ok(None)
            }
            Opcode::Continuation => self.proceed(header.last, payload, limit),
            Opcode::Binary => Ok(Some(Message::Binary)),
            Opcode::Ping | Opcode::Pong => Ok(Some(Message::Heartbeat)),
            Opcode::Close => close(payload).map(|close| Some(Message::Close(close))),
        }
    }

    fn proceed(&mut self, last: bool, payload: &[u8], limit: usize) -> Result<Option<Message>, ReadError> {
        let begun = self.begun.as_mut().ok_or(ReadError::Protocol)?;
        begun.payload.extend_from_slice(payload);
        match self.begun.take_if(|_| last) {
            None => Ok(None),
            Some(whole) if whole.compressed => self.inflate(&whole.payload, limit).map(Some),
            Some(whole) => text(whole.payload).map(Some),
        }
    }

    fn inflate(&mut self, payload: &[u8], limit: usize) -> Result<Message, ReadError> {
        let deflate = self.deflate.as_mut().ok_or(ReadError::Protocol)?;
        let inflated = deflate.inflate(payload, limit).map_err(|error| match error {
            InflateError::TooLong => ReadError::MessageTooBig,
            InflateError::Damaged => ReadError::InvalidDeflate,
        });
        text(inflated?)
    }
}

fn text(bytes: Vec<u8>) -> Result<Message, ReadError> {
    String::from_utf8(bytes).map(Message::Text).map_err(|_| ReadError::InvalidUtf8)
}

/// Code and reason of a close frame; codes that may not be on the wire are refused (RFC 6455 section 7.4).
fn close(payload: &[u8]) -> Result<Option<(u16, String)>, ReadError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(ReadError::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(ReadError::Protocol);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| ReadError::InvalidUtf8)?;
    Ok(Some((code, reason.to_owned())))
}
