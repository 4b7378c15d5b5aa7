//! Assembly of messages from frames: defragmentation, decompression, UTF-8 validation.
//!
//! The size of an incomplete message and of decompressed data is bounded by the socket's limit. UTF-8 and compressed
//! data are checked when a message is complete, because a frame may end within a character or a compressed block. The
//! socket checks the order of the frames.

use gateway::handshake::DeflateAgreement;

use super::frame::{FrameHeader, Opcode};
use super::message::{SocketError, SocketMessage};
use crate::deflate::{DeflateContext, InflateError};

/// State of a connection between two frames.
#[derive(Default)]
pub struct MessageAssembler {
    partial: Option<Box<PartialMessage>>,
    deflate: Option<Box<DeflateContext>>,
}

/// A message without its last frame.
struct PartialMessage {
    payload: Vec<u8>,
    compressed: bool,
}

impl MessageAssembler {
    /// Creates the assembler of a connection with compression.
    pub fn with_compression(agreement: &DeflateAgreement) -> Self {
        Self { partial: None, deflate: Some(Box::new(DeflateContext::new(agreement))) }
    }

    /// Returns the compression state; `None` without compression.
    pub fn deflate_context(&self) -> Option<&DeflateContext> {
        self.deflate.as_deref()
    }

    /// Returns whether a message is incomplete.
    pub const fn has_partial_message(&self) -> bool {
        self.partial.is_some()
    }

    /// Returns the payload bytes of the incomplete message.
    pub fn len(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.payload.len())
    }

    /// Adds a frame whose header the socket has checked, with its payload unmasked. Returns the message, of at most
    /// `limit` bytes, if it is complete.
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
        let partial = self.partial.as_mut().ok_or(SocketError::Protocol)?;
        partial.payload.extend_from_slice(payload);
        match self.partial.take_if(|_| last) {
            None => Ok(None),
            Some(message) if message.compressed => self.inflate_text(&message.payload, limit).map(Some),
            Some(message) => text_message(message.payload).map(Some),
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

/// Parses code and reason of a close frame; rejects codes that must not be sent (RFC 6455 section 7.4).
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
