//! Frames into messages: fragments are put together, compressed ones inflated, text is checked.
//!
//! Invariant: of a message under way no more is held than the socket's limit allows, and inflating stops there as well.
//! UTF-8 is checked when a message is whole, because a character may stand across two frames; so may whatever a
//! compressor wrote. Which frame may come when is the socket's to check.

use gateway::handshake::DeflateAgreement;

use super::frame::{FrameHeader, Opcode};
use super::message::{SocketError, SocketMessage};
use crate::deflate::{DeflateContext, InflateError};

/// What a connection holds between two frames.
#[derive(Default)]
pub struct MessageAssembler {
    partial: Option<Box<PartialMessage>>,
    deflate: Option<Box<DeflateContext>>,
}

/// A message whose last frame has not come.
struct PartialMessage {
    payload: Vec<u8>,
    compressed: bool,
}

impl MessageAssembler {
    /// For a connection that agreed to compress.
    pub fn with_compression(agreement: &DeflateAgreement) -> Self {
        Self { partial: None, deflate: Some(Box::new(DeflateContext::new(agreement))) }
    }

    /// What was agreed about compression, if anything was.
    pub fn deflate_context(&self) -> Option<&DeflateContext> {
        self.deflate.as_deref()
    }

    /// Whether a message is under way.
    pub const fn has_partial_message(&self) -> bool {
        self.partial.is_some()
    }

    /// How many bytes of payload there are so far.
    pub fn len(&self) -> usize {
        self.partial.as_ref().map_or(0, |begun| begun.payload.len())
    }

    /// Takes a frame that may come now, its payload unmasked; a message if it is whole now, of at most `limit` bytes.
    pub fn accept_frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        limit: usize,
    ) -> Result<Option<SocketMessage>, SocketError> {
        match header.opcode {
            Opcode::Text if header.fin && !header.compressed => text_message(payload.to_vec()).map(Some),
            Opcode::Text if header.fin => self.inflate_text(payload, limit).map(Some),
            Opcode::Text => {
                self.partial =
                    Some(Box::new(PartialMessage { payload: payload.to_vec(), compressed: header.compressed }));
                Ok(None)
            }
            Opcode::Continuation => self.continue_message(header.fin, payload, limit),
            Opcode::Binary => Ok(Some(SocketMessage::Binary)),
            Opcode::Ping | Opcode::Pong => Ok(Some(SocketMessage::PingOrPong)),
            Opcode::Close => parse_close(payload).map(|close| Some(SocketMessage::Close(close))),
        }
    }

    fn continue_message(
        &mut self,
        last: bool,
        payload: &[u8],
        limit: usize,
    ) -> Result<Option<SocketMessage>, SocketError> {
        let begun = self.partial.as_mut().ok_or(SocketError::Protocol)?;
        begun.payload.extend_from_slice(payload);
        match self.partial.take_if(|_| last) {
            None => Ok(None),
            Some(whole) if whole.compressed => self.inflate_text(&whole.payload, limit).map(Some),
            Some(whole) => text_message(whole.payload).map(Some),
        }
    }

    fn inflate_text(&mut self, payload: &[u8], limit: usize) -> Result<SocketMessage, SocketError> {
        let deflate = self.deflate.as_mut().ok_or(SocketError::Protocol)?;
        let inflated = deflate.inflate_message(payload, limit).map_err(|error| match error {
            InflateError::TooLong => SocketError::MessageTooBig,
            InflateError::Corrupt => SocketError::InvalidDeflate,
        });
        text_message(inflated?)
    }
}

fn text_message(bytes: Vec<u8>) -> Result<SocketMessage, SocketError> {
    String::from_utf8(bytes).map(SocketMessage::Text).map_err(|_| SocketError::InvalidUtf8)
}

/// Code and reason of a close frame; codes that may not be on the wire are refused (RFC 6455 section 7.4).
fn parse_close(payload: &[u8]) -> Result<Option<(u16, String)>, SocketError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(SocketError::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(SocketError::Protocol);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| SocketError::InvalidUtf8)?;
    Ok(Some((code, reason.to_owned())))
}
