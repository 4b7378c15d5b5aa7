//! The frame path: bytes of a client's connection into messages, and the answers that the socket gives by itself.
//!
//! The input's first byte says what the handshake agreed and how the bytes arrive; the rest is what the client sends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use gateway::handshake::DeflateAgreement;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use websocket::{SocketError, SocketLimits, SocketMessage, WebSocket};

/// Small, so that short inputs reach them.
const LIMITS: SocketLimits = SocketLimits { frame_bytes: 600, message_bytes: 1500, outbound_frame_bytes: 100 };
/// A session that polls more often than a byte at a time would need hangs.
const MOST_POLLS: usize = 100_000;

/// The frames of one connection.
///
/// Checks that the messages, and the error at the end, do not depend on how the bytes were cut on their way; that no
/// message is over the limit; and that what is answered is as much as what was asked, in frames that a server may send.
///
/// # Panics
/// When one of these does not hold.
pub fn frames(input: &[u8]) {
    let Some((&how, sent)) = input.split_first() else { return };
    let agreed = (how & 1 == 1).then_some(DeflateAgreement {
        server_no_context_takeover: false,
        client_no_context_takeover: how & 2 == 2,
        server_max_window_bits: None,
    });
    let whole = read(sent, sent.len().max(1), agreed.as_ref());
    let cut = read(sent, usize::from(how >> 2) + 1, agreed.as_ref());
    assert_eq!(whole.messages, cut.messages, "in pieces of {}", usize::from(how >> 2) + 1);
    assert_eq!(whole.error, cut.error, "in pieces of {}", usize::from(how >> 2) + 1);
    for message in &whole.messages {
        assert!(
            !matches!(message, SocketMessage::Text(text) if text.len() > LIMITS.message_bytes),
            "a message over the limit"
        );
    }
    assert_answers(&whole.answers, &whole.messages);
    assert_eq!(whole.answers, cut.answers);
}

/// What came of a connection.
struct Read {
    messages: Vec<SocketMessage>,
    error: SocketError,
    answers: Vec<u8>,
}

fn read(sent: &[u8], piece: usize, agreed: Option<&DeflateAgreement>) -> Read {
    let wire = Wire { sent, piece, paused: false, answers: Vec::new() };
    let mut socket = WebSocket::new(wire, &[], LIMITS).with_compression(agreed);
    let mut cx = Context::from_waker(Waker::noop());
    let mut messages = Vec::new();
    for _ in 0..MOST_POLLS {
        match socket.poll_read(&mut cx) {
            Poll::Ready(Ok(message)) => messages.push(message),
            Poll::Pending => assert!(socket.poll_flush(&mut cx).is_ready(), "a wire that takes everything was full"),
            Poll::Ready(Err(error)) => {
                assert!(socket.poll_flush(&mut cx).is_ready());
                let answers = std::mem::take(&mut socket.stream_mut().answers);
                return Read { messages, error, answers };
            }
        }
    }
    panic!("{} bytes were polled for {MOST_POLLS} times", sent.len());
}

/// Each ping has its pong, a close frame its echo, and nothing else was said.
fn assert_answers(mut answers: &[u8], messages: &[SocketMessage]) {
    let mut asked = messages.iter();
    while let [first, length, rest @ ..] = answers {
        let length = usize::from(*length);
        assert!(length <= 125 && length <= rest.len(), "an answer that is no control frame");
        let closes = match first {
            0x8A => false,
            0x88 => true,
            other => panic!("an answer begins with {other:#04x}"),
        };
        let reason = |message: &&SocketMessage| match message {
            SocketMessage::PingOrPong => !closes,
            SocketMessage::Close(_) => closes,
            SocketMessage::Text(_) | SocketMessage::Binary => false,
        };
        assert!(asked.find(reason).is_some(), "an answer that nobody asked for");
        answers = &rest[length..];
    }
    assert!(answers.is_empty(), "half an answer");
}

/// A connection whose client has sent all that it ever will; it arrives in pieces, with a pause between them.
struct Wire<'a> {
    sent: &'a [u8],
    piece: usize,
    paused: bool,
    answers: Vec<u8>,
}

impl AsyncRead for Wire<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.paused = !self.paused;
        if self.paused {
            return Poll::Pending;
        }
        let (piece, rest) = self.sent.split_at(self.sent.len().min(self.piece).min(room.remaining()));
        room.put_slice(piece);
        self.sent = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answers.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
