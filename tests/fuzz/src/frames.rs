//! Fuzz target of the frame path: bytes of a connection, decoded into messages, and the control frames that the
//! socket sends in reply.
//!
//! The first input byte selects the negotiated compression and the size of the reads; the rest is sent by the client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use gateway::handshake::DeflateAgreement;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use websocket::{SocketError, SocketLimits, SocketMessage, WebSocket};

/// Small limits, so that short inputs reach them.
const LIMITS: SocketLimits = SocketLimits { frame_bytes: 600, message_bytes: 1500, outbound_frame_bytes: 100 };
/// Maximum number of polls; a session that polls more often hangs.
const MAX_POLLS: usize = 100_000;

/// Reads the frames of one connection.
///
/// Checks that the messages and the final error do not depend on the size of the reads, that no message exceeds the
/// limit, and that each reply frame is valid and belongs to a received frame.
///
/// # Panics
/// One of these properties does not hold.
pub fn frames(input: &[u8]) {
    let Some((&mode, sent)) = input.split_first() else { return };
    let agreement = (mode & 1 == 1).then_some(DeflateAgreement {
        server_no_context_takeover: false,
        client_no_context_takeover: mode & 2 == 2,
        server_max_window_bits: None,
    });
    let whole = read(sent, sent.len().max(1), agreement.as_ref());
    let cut = read(sent, usize::from(mode >> 2) + 1, agreement.as_ref());
    assert_eq!(whole.messages, cut.messages, "in pieces of {}", usize::from(mode >> 2) + 1);
    assert_eq!(whole.error, cut.error, "in pieces of {}", usize::from(mode >> 2) + 1);
    for message in &whole.messages {
        assert!(
            !matches!(message, SocketMessage::Text(text) if text.len() > LIMITS.message_bytes),
            "a message over the limit"
        );
    }
    assert_replies(&whole.replies, &whole.messages);
    assert_eq!(whole.replies, cut.replies);
}

/// Result of one connection.
struct ConnectionResult {
    messages: Vec<SocketMessage>,
    error: SocketError,
    replies: Vec<u8>,
}

fn read(sent: &[u8], piece: usize, agreement: Option<&DeflateAgreement>) -> ConnectionResult {
    let stream = TestStream { sent, piece, paused: false, replies: Vec::new() };
    let mut socket = WebSocket::new(stream, &[], LIMITS).with_compression(agreement);
    let mut cx = Context::from_waker(Waker::noop());
    let mut messages = Vec::new();
    for _ in 0..MAX_POLLS {
        match socket.poll_read(&mut cx) {
            Poll::Ready(Ok(message)) => messages.push(message),
            Poll::Pending => assert!(socket.poll_flush(&mut cx).is_ready(), "an unbounded stream was full"),
            Poll::Ready(Err(error)) => {
                assert!(socket.poll_flush(&mut cx).is_ready());
                let replies = std::mem::take(&mut socket.stream_mut().replies);
                return ConnectionResult { messages, error, replies };
            }
        }
    }
    panic!("{} bytes were polled for {MAX_POLLS} times", sent.len());
}

/// Checks that the replies are one pong per ping and one echo per close frame, in order.
fn assert_replies(mut replies: &[u8], messages: &[SocketMessage]) {
    let mut received = messages.iter();
    while let [first, length, rest @ ..] = replies {
        let length = usize::from(*length);
        assert!(length <= 125 && length <= rest.len(), "a reply is not a control frame");
        let closes = match first {
            0x8A => false,
            0x88 => true,
            other => panic!("a reply begins with {other:#04x}"),
        };
        let reason = |message: &&SocketMessage| match message {
            SocketMessage::PingOrPong => !closes,
            SocketMessage::Close(_) => closes,
            SocketMessage::Text(_) | SocketMessage::Binary => false,
        };
        assert!(received.find(reason).is_some(), "an unsolicited reply");
        replies = &rest[length..];
    }
    assert!(replies.is_empty(), "an incomplete reply");
}

/// Connection whose client has sent all its data, which arrives in pieces with a pending read between them.
struct TestStream<'a> {
    sent: &'a [u8],
    piece: usize,
    paused: bool,
    replies: Vec<u8>,
}

impl AsyncRead for TestStream<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            return Poll::Pending;
        }
        let (piece, rest) = self.sent.split_at(self.sent.len().min(self.piece).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.sent = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TestStream<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.replies.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
