//! A WebSocket over any byte stream, as a state machine to poll.
//!
//! The protocol is tungstenite's [`WebSocketContext`]; what is ours is that one task polls reading and writing with one
//! waker, and that writing is buffered until the session asks for a flush: everything that arrived is answered in one
//! write. It enforces sizes and UTF-8 by configuration, and decides nothing about close codes.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// What is written in one go before the kernel is asked: large enough for a full batch of small frames, small enough
/// not to matter when a connection falls idle.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// How large a socket's buffers and messages may become, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct SocketLimits {
    /// The read buffer, allocated for the life of the connection.
    pub read_buffer: usize,
    /// The largest frame; a larger one is [`ReadError::FrameTooBig`].
    pub frame: usize,
    /// The largest message; a larger one is [`ReadError::MessageTooBig`].
    pub message: usize,
    /// The largest frame that is sent; longer texts leave in several (API Gateway: 32 KiB).
    pub outbound_frame: usize,
}

/// Why nothing more can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadError {
    /// A frame over the limit (RFC 6455 section 7.4.1, 1009).
    FrameTooBig,
    /// A message over the limit, all its frames together (1009).
    MessageTooBig,
    /// Text that is not UTF-8 (1007).
    InvalidUtf8,
    /// Anything else that RFC 6455 forbids (1002).
    Protocol,
    /// The stream ended or broke without a close frame (1006).
    Lost,
    /// The closing handshake is complete.
    Closed,
}

/// A server-side WebSocket.
pub struct Socket<S> {
    io: S,
    protocol: WebSocketContext,
    frame_limit: usize,
    outbound_frame: usize,
    blocked: bool,
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Speaks WebSocket on a stream whose handshake is done; `early` is what the client sent right behind it.
    pub fn new(io: S, early: Vec<u8>, limits: SocketLimits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(limits.read_buffer)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            // The session stops feeding a socket that is blocked, so this bound holds one batch of replies at most.
            .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * limits.message + 64 * 1024)
            .max_frame_size(Some(limits.frame))
            .max_message_size(Some(limits.message));
        let protocol = if early.is_empty() {
            WebSocketContext::new(Role::Server, Some(config))
        } else {
            WebSocketContext::from_partially_read(early, Role::Server, Some(config))
        };
        Self { io, protocol, frame_limit: limits.frame, outbound_frame: limits.outbound_frame, blocked: false, unflushed: false }
    }

    /// The next message, control frames included; pings are answered on the way.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, ReadError>> {
        let mut io = Polled { io: &mut self.io, cx };
        match self.protocol.read(&mut io) {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(read_error(&error, self.frame_limit))),
        }
    }

    /// Whether the kernel takes no more for now: what is fed meanwhile only piles up here.
    pub const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Queues a text message; it is on its way after the next flush.
    ///
    /// # Errors
    /// The connection cannot be written to any more.
    pub fn feed(&mut self, cx: &mut Context<'_>, text: Utf8Bytes) -> Result<(), ReadError> {
        if text.len() <= self.outbound_frame {
            return self.feed_message(cx, Message::Text(text));
        }
        let text = Bytes::from(text);
        let frames = text.len().div_ceil(self.outbound_frame);
        for position in 0..frames {
            let from = position * self.outbound_frame;
            let part = text.slice(from..text.len().min(from + self.outbound_frame));
            let opcode = OpCode::Data(if position == 0 { Data::Text } else { Data::Continue });
            self.feed_message(cx, Message::Frame(Frame::message(part, opcode, position + 1 == frames)))?;
        }
        Ok(())
    }

    fn feed_message(&mut self, cx: &mut Context<'_>, message: Message) -> Result<(), ReadError> {
        let mut io = Polled { io: &mut self.io, cx };
        self.unflushed = true;
        match self.protocol.write(&mut io, message) {
            Ok(()) => Ok(()),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Ok(())
            }
            Err(error) => Err(read_error(&error, self.frame_limit)),
        }
    }

    /// Pushes out what was fed. `Pending` means that the peer's window is full; the task is woken when it opens.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let mut io = Polled { io: &mut self.io, cx };
        match self.protocol.flush(&mut io) {
            Ok(()) => {
                self.blocked = false;
                self.unflushed = false;
                Poll::Ready(Ok(()))
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(read_error(&error, self.frame_limit))),
        }
    }

    /// Queues the close frame behind everything fed so far.
    pub fn feed_close(&mut self, cx: &mut Context<'_>, frame: Option<CloseFrame>) {
        let mut io = Polled { io: &mut self.io, cx };
        self.unflushed = true;
        // A full kernel buffer keeps the frame queued for the next flush, a broken stream is found by that flush.
        let _ = self.protocol.close(&mut io, frame);
    }

    /// The stream beneath, for a shutdown outside the protocol.
    pub const fn stream(&mut self) -> &mut S {
        &mut self.io
    }
}

fn read_error(error: &WsError, frame_limit: usize) -> ReadError {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => ReadError::Closed,
        WsError::Capacity(CapacityError::MessageTooLong { max_size, .. }) if *max_size == frame_limit => ReadError::FrameTooBig,
        WsError::Capacity(_) => ReadError::MessageTooBig,
        WsError::Utf8(_) => ReadError::InvalidUtf8,
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ReadError::Lost,
        WsError::Protocol(_) => ReadError::Protocol,
        _ => ReadError::Lost,
    }
}

/// One poll's view of an async stream as a blocking one that answers "would block" for "pending".
struct Polled<'a, 'b, S> {
    io: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + Unpin> Read for Polled<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.io).poll_read(self.cx, &mut buffer) {
            Poll::Ready(Ok(())) => Ok(buffer.filled().len()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Polled<'_, '_, S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        blocking(Pin::new(&mut *self.io).poll_write(self.cx, buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocking(Pin::new(&mut *self.io).poll_flush(self.cx))
    }
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
