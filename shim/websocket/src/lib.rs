//! A server-side WebSocket (RFC 6455) over any byte stream, as a state machine to poll.
//!
//! One task polls reading and writing with one waker. Reading takes all that has arrived and hands out message after
//! message; writing is buffered until the session asks for a flush, so that everything that arrived is answered in one
//! write. Buffers are borrowed while bytes are under way ([`buffers`]). Invariants: no more than the limits is ever held;
//! pings are answered on the way; after an error or a close frame nothing more is read. It decides nothing about when to
//! close. Why this is our own: `docs/adr/0006-frame-codec.md`; compression: `docs/adr/0007-permessage-deflate.md`.

mod assembly;
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

use self::assembly::Assembly;
use self::deflate::compress;
use self::frame::{Header, Opcode};
pub use self::message::{Message, ReadError};
pub use self::text::SharedText;

/// Unsent bytes from which on a feed pushes by itself.
const PUSH_BYTES: usize = 16 * 1024;
/// Unsent bytes beyond which pings of a client that does not read are no longer answered.
const PONG_BYTES: usize = 64 * 1024;

/// The part of a frame that is copied rather than keep a whole buffer for it.
const SMALL_BYTES: usize = 1024;

/// How large frames and messages may become, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// The largest frame as it is on the wire, compressed or not; a larger one is [`ReadError::FrameTooBig`].
    pub frame: usize,
    /// The largest message, inflated if it was compressed; a larger one is [`ReadError::MessageTooBig`].
    pub message: usize,
    /// The largest frame that is sent; longer texts leave in several (API Gateway: 32 KiB).
    pub outbound_frame: usize,
}

/// A server-side WebSocket.
pub struct Socket<S> {
    io: S,
    limits: SocketLimits,
    incoming: BytesMut,
    assembly: Assembly,
    outgoing: Vec<u8>,
    written: usize,
    blocked: bool,
    ended: Option<ReadError>,
    close_sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Speaks WebSocket on a stream whose handshake is done; `early` is what the client sent right behind it.
    pub fn new(io: S, early: &[u8], limits: SocketLimits) -> Self {
        Self {
            io,
            limits,
            incoming: BytesMut::from(early),
            assembly: Assembly::default(),
            outgoing: Vec::new(),
            written: 0,
            blocked: false,
            ended: None,
            close_sent: false,
        }
    }

    /// With compression, as the handshake agreed.
    #[must_use]
    pub fn compressed(mut self, agreement: Option<&DeflateAgreement>) -> Self {
        self.assembly = agreement.map(Assembly::compressed).unwrap_or_default();
        self
    }

    /// The next message. Pending also when a frame is incomplete.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReadError>> {
        loop {
            if let Some(error) = self.ended {
                return Poll::Ready(Err(error));
            }
            match self.next_frame() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = Some(error);
                    continue;
                }
            }
            if self.fill(cx)?.is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Reads what the stream has; gives the buffer back when that is nothing.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ReadError> {
        if self.incoming.capacity() == self.incoming.len() {
            self.incoming = buffers::refill(std::mem::take(&mut self.incoming));
        }
        match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.incoming) {
            Poll::Ready(Ok(read)) if read > 0 => Ok(Poll::Ready(())),
            Poll::Ready(_) => {
                self.ended = Some(ReadError::Lost);
                Err(ReadError::Lost)
            }
            Poll::Pending => {
                let buffer = std::mem::take(&mut self.incoming);
                // A large frame on its way keeps its buffer: copying it at every pause would cost more.
                self.incoming = if buffer.len() <= SMALL_BYTES { buffers::give_read(buffer) } else { buffer };
                Ok(Poll::Pending)
            }
        }
    }

    /// Takes frames from the buffer until a message is complete.
    fn next_frame(&mut self) -> Result<Option<Message>, ReadError> {
        loop {
            let Some(header) = Header::parse(&self.incoming).map_err(|_| ReadError::Protocol)? else { return Ok(None) };
            let Some(mask) = header.mask else { return Err(ReadError::Protocol) };
            self.check(&header)?;
            let payload = header.payload as usize;
            if self.incoming.len() < header.bytes + payload {
                self.incoming.reserve(header.bytes + payload - self.incoming.len());
                return Ok(None);
            }
            let bytes = &mut self.incoming[header.bytes..header.bytes + payload];
            frame::unmask(bytes, mask);
            let message = match self.assembly.take(&header, bytes, self.limits.message) {
                Ok(Some(Message::Heartbeat)) if header.opcode == Opcode::Ping => self.answer_ping(&header),
                Ok(Some(Message::Close(close))) => self.answer_close(close),
                other => other?,
            };
            self.incoming.advance(header.bytes + payload);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Refuses a frame by its header, before its payload is waited for.
    fn check(&self, header: &Header) -> Result<(), ReadError> {
        let expected = match header.opcode {
            Opcode::Continuation => self.assembly.is_begun() && !header.compressed,
            Opcode::Text | Opcode::Binary => !self.assembly.is_begun(),
            Opcode::Close | Opcode::Ping | Opcode::Pong => true,
        };
        if !expected || (header.compressed && self.assembly.deflate().is_none()) {
            return Err(ReadError::Protocol);
        }
        if header.payload > self.limits.frame as u64 {
            return Err(ReadError::FrameTooBig);
        }
        let data = matches!(header.opcode, Opcode::Continuation | Opcode::Text | Opcode::Binary);
        if data && self.assembly.len() + header.payload as usize > self.limits.message {
            return Err(ReadError::MessageTooBig);
        }
        Ok(())
    }

    fn answer_ping(&mut self, header: &Header) -> Option<Message> {
        if self.unsent() < PONG_BYTES && !self.close_sent {
            let payload = self.incoming[header.bytes..header.bytes + header.payload as usize].to_vec();
            self.queue(Opcode::Pong, true, false, &payload);
        }
        Some(Message::Heartbeat)
    }

    /// Echoes the code, as RFC 6455 section 5.5.1 has it; what follows on the stream is not read any more.
    fn answer_close(&mut self, close: Option<(u16, String)>) -> Option<Message> {
        let payload = close.as_ref().map(|(code, _)| code.to_be_bytes().to_vec()).unwrap_or_default();
        if !std::mem::replace(&mut self.close_sent, true) {
            self.queue(Opcode::Close, true, false, &payload);
        }
        self.ended = Some(ReadError::Lost);
        Some(Message::Close(close))
    }

    /// Whether the kernel takes no more for now: what is fed meanwhile only piles up here.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Queues a text message for this socket alone, which must be UTF-8; it is on its way after the next flush.
    ///
    /// # Errors
    /// The connection cannot be written to any more.
    pub fn feed(&mut self, cx: &mut Context<'_>, text: &[u8]) -> Result<(), ReadError> {
        match self.assembly.deflate().filter(|deflate| deflate.takes(text.len())).and_then(|_| compress(text)) {
            Some(compressed) => self.feed_payload(cx, true, &compressed),
            None => self.feed_payload(cx, false, text),
        }
    }

    /// The same for a text that other sockets are sent as well: it is compressed once for all of them.
    ///
    /// # Errors
    /// The connection cannot be written to any more.
    pub fn feed_shared(&mut self, cx: &mut Context<'_>, text: &SharedText) -> Result<(), ReadError> {
        match self.assembly.deflate().filter(|deflate| deflate.takes(text.len())).and_then(|_| text.compressed()) {
            Some(compressed) => self.feed_payload(cx, true, compressed),
            None => self.feed_payload(cx, false, text),
        }
    }

    fn feed_payload(&mut self, cx: &mut Context<'_>, compressed: bool, payload: &[u8]) -> Result<(), ReadError> {
        if self.close_sent {
            return Ok(());
        }
        if payload.len() <= self.limits.outbound_frame {
            self.queue(Opcode::Text, true, compressed, payload);
        } else {
            let last = payload.len().div_ceil(self.limits.outbound_frame) - 1;
            for (position, part) in payload.chunks(self.limits.outbound_frame).enumerate() {
                let opcode = if position == 0 { Opcode::Text } else { Opcode::Continuation };
                // RSV1 stands on a message's first frame only (RFC 7692 section 6).
                self.queue(opcode, position == last, compressed && position == 0, part);
            }
        }
        if self.unsent() >= PUSH_BYTES && !self.blocked { self.push(cx).map(drop) } else { Ok(()) }
    }

    /// Queues the close frame behind everything fed so far.
    pub fn feed_close(&mut self, code: u16, reason: &str) {
        if !std::mem::replace(&mut self.close_sent, true) {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            self.queue(Opcode::Close, true, false, &payload);
        }
    }

    /// Pushes out what was fed. `Pending` means that the peer's window is full; the task is woken when it opens.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        match self.push(cx) {
            Ok(true) => Pin::new(&mut self.io).poll_flush(cx).map_err(|_| ReadError::Lost),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// The stream beneath, for a shutdown outside the protocol.
    pub const fn stream(&mut self) -> &mut S {
        &mut self.io
    }

    fn queue(&mut self, opcode: Opcode, last: bool, compressed: bool, payload: &[u8]) {
        if self.outgoing.capacity() == 0 {
            self.outgoing = buffers::take_write();
        }
        frame::write(&mut self.outgoing, opcode, last, compressed, payload);
    }

    const fn unsent(&self) -> usize {
        self.outgoing.len() - self.written
    }

    /// Writes as much as the kernel takes; `true` when that was all.
    fn push(&mut self, cx: &mut Context<'_>) -> Result<bool, ReadError> {
        while self.unsent() > 0 {
            match Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.written..]) {
                Poll::Ready(Ok(written)) if written > 0 => self.written += written,
                Poll::Ready(_) => return Err(ReadError::Lost),
                Poll::Pending => {
                    self.blocked = true;
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                    return Ok(false);
                }
            }
        }
        self.blocked = false;
        self.written = 0;
        buffers::give_write(std::mem::take(&mut self.outgoing));
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
