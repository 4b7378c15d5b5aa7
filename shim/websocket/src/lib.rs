//! A server-side WebSocket (RFC 6455) over any byte stream, as a state machine to poll.
//!
//! One task polls reading and writing with one waker. Reading takes all that has arrived and hands out message after
//! message; writing is buffered until the session asks for a flush, so that everything that arrived is answered in one
//! write. Buffers are borrowed while bytes are under way ([`buffers`]). Invariants: no more than the limits is ever held;
//! pings are answered on the way; after an error or a close frame nothing more is read. It decides nothing about when to
//! close. Why this is our own: `docs/adr/0006-frame-codec.md`; compression: `docs/adr/0007-permessage-deflate.md`.

mod assembler;
mod buffers;
mod deflate;
mod frame;
mod message;
mod text;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use gateway::handshake::DeflateAgreement;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use self::assembler::MessageAssembler;
use self::deflate::compress_text;
use self::frame::{FrameHeader, Opcode};
pub use self::message::{SocketError, SocketMessage};
pub use self::text::SharedText;

/// Unsent bytes from which on a feed pushes by itself.
const FLUSH_THRESHOLD_BYTES: usize = 16 * 1024;
/// Unsent bytes beyond which pings of a client that does not read are no longer answered.
const MAX_UNSENT_PONG_BYTES: usize = 64 * 1024;

/// The part of a frame that is copied rather than keep a whole buffer for it.
const MAX_COPIED_BYTES: usize = 1024;

/// How large frames and messages may become, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// The largest frame as it is on the wire, compressed or not; a larger one is [`SocketError::FrameTooBig`].
    pub frame_bytes: usize,
    /// The largest message, inflated if it was compressed; a larger one is [`SocketError::MessageTooBig`].
    pub message_bytes: usize,
    /// The largest frame that is sent; longer texts leave in several (API Gateway: 32 KiB).
    pub outbound_frame_bytes: usize,
}

/// A server-side WebSocket.
pub struct WebSocket<S> {
    io: S,
    limits: SocketLimits,
    incoming: BytesMut,
    assembler: MessageAssembler,
    outgoing: Vec<u8>,
    written_bytes: usize,
    write_blocked: bool,
    read_error: Option<SocketError>,
    close_sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Speaks WebSocket on a stream whose handshake is done; `early` is what the client sent right behind it.
    pub fn new(io: S, early: &[u8], limits: SocketLimits) -> Self {
        Self {
            io,
            limits,
            incoming: BytesMut::from(early),
            assembler: MessageAssembler::default(),
            outgoing: Vec::new(),
            written_bytes: 0,
            write_blocked: false,
            read_error: None,
            close_sent: false,
        }
    }

    /// With compression, as the handshake agreed.
    #[must_use]
    pub fn with_compression(mut self, agreement: Option<&DeflateAgreement>) -> Self {
        self.assembler = agreement.map(MessageAssembler::with_compression).unwrap_or_default();
        self
    }

    /// The next message. Pending also when a frame is incomplete.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<SocketMessage, SocketError>> {
        loop {
            if let Some(error) = self.read_error {
                return Poll::Ready(Err(error));
            }
            match self.next_frame() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => {}
                Err(error) => {
                    self.read_error = Some(error);
                    continue;
                }
            }
            if self.fill_buffer(cx)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Reads what the stream has; gives the buffer back when that is nothing.
    fn fill_buffer(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SocketError> {
        if self.incoming.capacity() == self.incoming.len() {
            self.incoming = buffers::take_read_buffer(std::mem::take(&mut self.incoming));
        }
        match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.incoming) {
            Poll::Ready(Ok(read)) if read > 0 => Ok(Poll::Ready(())),
            Poll::Ready(_) => {
                self.read_error = Some(SocketError::ConnectionLost);
                Err(SocketError::ConnectionLost)
            }
            Poll::Pending => {
                let buffer = std::mem::take(&mut self.incoming);
                // A large frame on its way keeps its buffer: copying it at every pause would cost more.
                self.incoming =
                    if buffer.len() <= MAX_COPIED_BYTES { buffers::return_read_buffer(buffer) } else { buffer };
                Ok(Poll::Pending)
            }
        }
    }

    /// Takes frames from the buffer until a message is complete.
    fn next_frame(&mut self) -> Result<Option<SocketMessage>, SocketError> {
        loop {
            let Some(header) = FrameHeader::parse(&self.incoming).map_err(|_| SocketError::Protocol)? else {
                return Ok(None);
            };
            let Some(mask) = header.mask else { return Err(SocketError::Protocol) };
            self.check_header(&header)?;
            let payload = header.payload_bytes as usize;
            if self.incoming.len() < header.header_bytes + payload {
                self.incoming.reserve(header.header_bytes + payload - self.incoming.len());
                return Ok(None);
            }
            let bytes = &mut self.incoming[header.header_bytes..header.header_bytes + payload];
            frame::apply_mask(bytes, mask);
            let message = match self.assembler.accept_frame(&header, bytes, self.limits.message_bytes) {
                Ok(Some(SocketMessage::PingOrPong)) if header.opcode == Opcode::Ping => self.answer_ping(&header),
                Ok(Some(SocketMessage::Close(close))) => self.answer_close(close),
                other => other?,
            };
            self.incoming.advance(header.header_bytes + payload);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Refuses a frame by its header, before its payload is waited for.
    fn check_header(&self, header: &FrameHeader) -> Result<(), SocketError> {
        let expected = match header.opcode {
            Opcode::Continuation => self.assembler.has_partial_message() && !header.compressed,
            Opcode::Text | Opcode::Binary => !self.assembler.has_partial_message(),
            Opcode::Close | Opcode::Ping | Opcode::Pong => true,
        };
        if !expected || (header.compressed && self.assembler.deflate_context().is_none()) {
            return Err(SocketError::Protocol);
        }
        if header.payload_bytes > self.limits.frame_bytes as u64 {
            return Err(SocketError::FrameTooBig);
        }
        let data = matches!(header.opcode, Opcode::Continuation | Opcode::Text | Opcode::Binary);
        if data && self.assembler.len() + header.payload_bytes as usize > self.limits.message_bytes {
            return Err(SocketError::MessageTooBig);
        }
        Ok(())
    }

    fn answer_ping(&mut self, header: &FrameHeader) -> Option<SocketMessage> {
        if self.unsent_bytes() < MAX_UNSENT_PONG_BYTES && !self.close_sent {
            let payload =
                self.incoming[header.header_bytes..header.header_bytes + header.payload_bytes as usize].to_vec();
            self.enqueue_frame(Opcode::Pong, true, false, &payload);
        }
        Some(SocketMessage::PingOrPong)
    }

    /// Echoes the code, as RFC 6455 section 5.5.1 has it; what follows on the stream is not read any more.
    fn answer_close(&mut self, close: Option<(u16, String)>) -> Option<SocketMessage> {
        let payload = close.as_ref().map(|(code, _)| code.to_be_bytes().to_vec()).unwrap_or_default();
        if !std::mem::replace(&mut self.close_sent, true) {
            self.enqueue_frame(Opcode::Close, true, false, &payload);
        }
        self.read_error = Some(SocketError::ConnectionLost);
        Some(SocketMessage::Close(close))
    }

    /// Whether the kernel takes no more for now: what is fed meanwhile only piles up here.
    pub const fn is_write_blocked(&self) -> bool {
        self.write_blocked
    }

    /// Queues a text message for this socket alone, which must be UTF-8; it is on its way after the next flush.
    ///
    /// # Errors
    /// The connection cannot be written to any more.
    pub fn enqueue_text(&mut self, cx: &mut Context<'_>, text: &[u8]) -> Result<(), SocketError> {
        match self
            .assembler
            .deflate_context()
            .filter(|deflate| deflate.accepts_length(text.len()))
            .and_then(|_| compress_text(text))
        {
            Some(compressed) => self.enqueue_payload(cx, true, &compressed),
            None => self.enqueue_payload(cx, false, text),
        }
    }

    /// The same for a text that other sockets are sent as well: it is compressed once for all of them.
    ///
    /// # Errors
    /// The connection cannot be written to any more.
    pub fn enqueue_shared(&mut self, cx: &mut Context<'_>, text: &SharedText) -> Result<(), SocketError> {
        match self
            .assembler
            .deflate_context()
            .filter(|deflate| deflate.accepts_length(text.len()))
            .and_then(|_| text.compressed_form())
        {
            Some(compressed) => self.enqueue_payload(cx, true, compressed),
            None => self.enqueue_payload(cx, false, text),
        }
    }

    fn enqueue_payload(&mut self, cx: &mut Context<'_>, compressed: bool, payload: &[u8]) -> Result<(), SocketError> {
        if self.close_sent {
            return Ok(());
        }
        if payload.len() <= self.limits.outbound_frame_bytes {
            self.enqueue_frame(Opcode::Text, true, compressed, payload);
        } else {
            let last = payload.len().div_ceil(self.limits.outbound_frame_bytes) - 1;
            for (position, part) in payload.chunks(self.limits.outbound_frame_bytes).enumerate() {
                let opcode = if position == 0 { Opcode::Text } else { Opcode::Continuation };
                // RSV1 stands on a message's first frame only (RFC 7692 section 6).
                self.enqueue_frame(opcode, position == last, compressed && position == 0, part);
            }
        }
        if self.unsent_bytes() >= FLUSH_THRESHOLD_BYTES && !self.write_blocked {
            self.write_pending(cx).map(drop)
        } else {
            Ok(())
        }
    }

    /// Queues the close frame behind everything fed so far.
    pub fn enqueue_close(&mut self, code: u16, reason: &str) {
        if !std::mem::replace(&mut self.close_sent, true) {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            self.enqueue_frame(Opcode::Close, true, false, &payload);
        }
    }

    /// Pushes out what was fed. `Pending` means that the peer's window is full; the task is woken when it opens.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SocketError>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.write_pending(cx) {
            Ok(true) => Pin::new(&mut self.io).poll_flush(cx).map_err(|_| SocketError::ConnectionLost),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The stream beneath, for a shutdown outside the protocol.
    pub const fn stream_mut(&mut self) -> &mut S {
        &mut self.io
    }

    fn enqueue_frame(&mut self, opcode: Opcode, last: bool, compressed: bool, payload: &[u8]) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = buffers::take_write_buffer();
        }
        frame::write_frame(&mut self.outgoing, opcode, last, compressed, payload);
    }

    const fn unsent_bytes(&self) -> usize {
        self.outgoing.len() - self.written_bytes
    }

    /// Writes as much as the kernel takes; `true` when that was all.
    fn write_pending(&mut self, cx: &mut Context<'_>) -> Result<bool, SocketError> {
        while self.unsent_bytes() > 0 {
            match Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.written_bytes..]) {
                Poll::Ready(Ok(written)) if written > 0 => self.written_bytes += written,
                Poll::Ready(_) => return Err(SocketError::ConnectionLost),
                Poll::Pending => {
                    self.write_blocked = true;
                    self.outgoing.drain(..self.written_bytes);
                    self.written_bytes = 0;
                    return Ok(false);
                }
            }
        }
        self.write_blocked = false;
        self.written_bytes = 0;
        buffers::return_write_buffer(std::mem::take(&mut self.outgoing));
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
