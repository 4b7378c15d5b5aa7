//! Server-side WebSocket (RFC 6455) over any byte stream, as a state machine to poll.
//!
//! One task polls reads and writes with one waker. A read fetches all available bytes and returns one message after the
//! other. Writes are buffered until a flush, so that the responses to all received messages are sent in one write. An
//! idle socket owns no buffers: they are borrowed from thread-local pools. Memory is bounded by [`SocketLimits`]. Pings
//! are answered automatically; after an error or a close frame nothing more is read. The caller decides when to close.
//!
//! `docs/adr/0006-frame-codec.md` has the reasons for an own codec, `docs/adr/0007-permessage-deflate.md` those for the
//! compression.
//!
//! ```
//! use std::future::poll_fn;
//!
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//! use websocket::{SocketLimits, SocketMessage, WebSocket};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (server, mut client) = tokio::io::duplex(1024);
//! let limits = SocketLimits { frame_bytes: 1024, message_bytes: 4096, outbound_frame_bytes: 1024 };
//! let mut socket = WebSocket::new(server, b"", limits);
//!
//! // A masked text frame of the client: "Hi".
//! client.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'H' ^ 1, b'i' ^ 2]).await?;
//! let message = poll_fn(|cx| socket.poll_read(cx)).await;
//! assert_eq!(message, Ok(SocketMessage::Text("Hi".to_owned())));
//!
//! poll_fn(|cx| {
//!     socket.enqueue_text(cx, b"hello").expect("the stream is open");
//!     socket.poll_flush(cx)
//! })
//! .await
//! .expect("the stream is open");
//! let mut frame = [0; 7];
//! client.read_exact(&mut frame).await?;
//! assert_eq!(&frame, b"\x81\x05hello");
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod assembler;
mod buffers;
mod deflate;
mod frame;
mod message;
mod text;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut as _, BytesMut};
use gateway::handshake::DeflateAgreement;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use self::assembler::MessageAssembler;
use self::deflate::compress_text;
use self::frame::{FrameHeader, Opcode};
pub use self::message::{SocketError, SocketMessage};
pub use self::text::SharedText;

/// Unsent bytes from which `enqueue_text` and `enqueue_shared` write without waiting for a flush.
const FLUSH_THRESHOLD_BYTES: usize = 16 * 1024;
/// Unsent bytes from which pings are no longer answered, because the client does not read.
const MAX_UNSENT_PONG_BYTES: usize = 64 * 1024;

/// Maximum bytes of an incomplete frame that are copied to a smaller buffer, so that the pooled buffer can be returned.
const MAX_COPIED_BYTES: usize = 1024;
/// Maximum bytes of one read: the most that is received of the next message before the connection may stop reading.
const MAX_READ_BYTES: usize = 64 * 1024;
/// Payload from which the buffer of a frame is freed as soon as the frame is processed.
const LARGE_FRAME_BYTES: usize = 128 * 1024;

/// Size limits of frames and messages in bytes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// Maximum payload of a received frame, before decompression; a larger one is [`SocketError::FrameTooBig`].
    pub frame_bytes: usize,
    /// Maximum size of a received message, after decompression; a larger one is [`SocketError::MessageTooBig`].
    pub message_bytes: usize,
    /// Maximum payload of a sent frame; longer texts are fragmented (API Gateway: 32 KiB).
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
    received: bool,
    close_sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Creates a WebSocket on a stream after its handshake; `early` are the bytes that were read after the handshake
    /// request.
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
            received: false,
            close_sent: false,
        }
    }

    /// Enables compression with the parameters that the handshake negotiated.
    #[must_use]
    pub fn with_compression(mut self, agreement: Option<&DeflateAgreement>) -> Self {
        self.assembler = agreement.map(MessageAssembler::with_compression).unwrap_or_default();
        self
    }

    /// Polls for the next message; pending while a message is incomplete.
    ///
    /// # Errors
    /// [`SocketError`] for a violation of the protocol or of the limits, or when the connection is lost; later calls
    /// return the same error.
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

    /// Reads the available bytes; returns the buffer to the pool when there are none.
    fn fill_buffer(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SocketError> {
        if self.incoming.capacity() == self.incoming.len() {
            self.incoming = buffers::take_read_buffer(std::mem::take(&mut self.incoming));
        }
        let mut buffer = (&mut self.incoming).limit(MAX_READ_BYTES);
        match poll_read_buf(Pin::new(&mut self.io), cx, &mut buffer) {
            Poll::Ready(Ok(read)) if read > 0 => {
                self.received = true;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(_) => {
                self.read_error = Some(SocketError::ConnectionLost);
                Err(SocketError::ConnectionLost)
            }
            Poll::Pending => {
                let buffer = std::mem::take(&mut self.incoming);
                // A large incomplete frame keeps its buffer, because copying it at every read would cost more.
                self.incoming =
                    if buffer.len() <= MAX_COPIED_BYTES { buffers::return_read_buffer(buffer) } else { buffer };
                Ok(Poll::Pending)
            }
        }
    }

    /// Parses frames from the buffer until a message is complete.
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
            if payload > LARGE_FRAME_BYTES {
                self.incoming = BytesMut::from(&self.incoming[..]);
            }
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Validates a frame by its header, before its payload is received.
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

    /// Echoes the code (RFC 6455 section 5.5.1) and stops reading.
    fn answer_close(&mut self, close: Option<(u16, String)>) -> Option<SocketMessage> {
        let payload = close.as_ref().map(|(code, _)| code.to_be_bytes().to_vec()).unwrap_or_default();
        if !std::mem::replace(&mut self.close_sent, true) {
            self.enqueue_frame(Opcode::Close, true, false, &payload);
        }
        self.read_error = Some(SocketError::ConnectionLost);
        Some(SocketMessage::Close(close))
    }

    /// Returns whether bytes of the client, of any frame, have arrived since the last call.
    pub const fn take_received(&mut self) -> bool {
        std::mem::replace(&mut self.received, false)
    }

    /// Enqueues a ping without a payload (RFC 6455 section 5.5.2), which a client has to answer.
    pub fn enqueue_ping(&mut self) {
        if !self.close_sent {
            self.enqueue_frame(Opcode::Ping, true, false, b"");
        }
    }

    /// Returns whether the stream accepts no more bytes for now; further frames are only buffered.
    pub const fn is_write_blocked(&self) -> bool {
        self.write_blocked
    }

    /// Enqueues a text message for this socket only; `text` must be UTF-8. The next flush sends it.
    ///
    /// # Errors
    /// [`SocketError::ConnectionLost`] when the stream cannot be written to.
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

    /// Enqueues a text message that is sent to several sockets and compressed once for all of them.
    ///
    /// # Errors
    /// [`SocketError::ConnectionLost`] when the stream cannot be written to.
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
        let (mut opcode, mut rest) = (Opcode::Text, payload);
        while rest.len() > self.limits.outbound_frame_bytes {
            let (part, following) = rest.split_at(self.fragment_length(rest, compressed));
            // RSV1 is set on the first frame of a message only (RFC 7692 section 6).
            self.enqueue_frame(opcode, false, compressed && opcode == Opcode::Text, part);
            (opcode, rest) = (Opcode::Continuation, following);
        }
        self.enqueue_frame(opcode, true, compressed && opcode == Opcode::Text, rest);
        if self.unsent_bytes() >= FLUSH_THRESHOLD_BYTES && !self.write_blocked {
            self.write_pending(cx).map(drop)
        } else {
            Ok(())
        }
    }

    /// Returns the length of the next fragment of `payload`, which is longer than a frame. Uncompressed fragments end
    /// at character boundaries: RFC 6455 section 5.6 requires valid UTF-8 of whole messages only, but some clients
    /// decode frame by frame.
    fn fragment_length(&self, payload: &[u8], compressed: bool) -> usize {
        let longest = self.limits.outbound_frame_bytes;
        if compressed {
            return longest;
        }
        let is_boundary = |at: &usize| payload[*at] & 0xC0 != 0x80;
        // A character has at most four bytes.
        (longest.saturating_sub(3)..=longest).rev().find(is_boundary).filter(|at| *at > 0).unwrap_or(longest)
    }

    /// Enqueues the close frame after all enqueued messages.
    pub fn enqueue_close(&mut self, code: u16, reason: &str) {
        if !std::mem::replace(&mut self.close_sent, true) {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            self.enqueue_frame(Opcode::Close, true, false, &payload);
        }
    }

    /// Writes the enqueued frames. `Pending` means that the send buffer is full; the task is woken when there is room.
    ///
    /// # Errors
    /// [`SocketError::ConnectionLost`] when the stream cannot be written to.
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

    /// Returns the underlying stream, for its shutdown.
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

    /// Writes until the stream accepts no more; returns whether everything was written.
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
