//! An open WebSocket of the load generator: decodes frames from a shared read buffer and writes without copying while
//! the socket accepts data.
//!
//! A connection has no buffer of its own while no frame is partly read or written, so ten thousand idle connections
//! cost almost no memory. Pings are answered here, pongs are ignored, a close frame ends the connection.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{self, FrameError};
use super::inflate::inflate;
use crate::websocket::{self, opcode};

/// Maximum number of bytes that wait for a server that does not read; more ends the run.
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;

/// Timeout of the server's reply to a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Read buffer of all connections of this generator: it runs on one thread, and the borrow ends with each poll.
#[derive(Clone)]
pub struct ReadBuffer(Rc<RefCell<Vec<u8>>>);

impl ReadBuffer {
    /// Returns a buffer for the longest frame plus 64 KiB of following data.
    pub fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; frame::MAX_PAYLOAD + websocket::MAX_HEADER + 64 * 1024])))
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// A heartbeat message of the server and its reply: Engine.IO, for example, does not use pings.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    request: Vec<u8>,
    /// Complete masked frame.
    reply: Vec<u8>,
}

impl Heartbeat {
    /// Returns a heartbeat of two texts.
    pub fn new(request: &str, reply: &str) -> Self {
        Self { request: request.into(), reply: websocket::encode(opcode::TEXT, reply.as_bytes()) }
    }
}

/// Upgraded connection.
pub struct Connection {
    stream: TcpStream,
    /// Start of an incomplete frame; shorter than one frame.
    held: Vec<u8>,
    /// Whether the server may compress messages.
    inflates: bool,
    heartbeat: Option<Rc<Heartbeat>>,
    /// Whether bytes that arrived with the handshake response have not been decoded yet.
    unread: bool,
    /// Bytes that the socket did not accept yet.
    pending: Vec<u8>,
}

impl Connection {
    /// Returns a connection after its handshake; `read_ahead` holds the bytes after the server's response.
    pub fn new(stream: TcpStream, read_ahead: Vec<u8>) -> Self {
        let unread = !read_ahead.is_empty();
        Self { stream, inflates: false, heartbeat: None, unread, held: read_ahead, pending: Vec::new() }
    }

    /// Sets whether the server may compress messages, each independently.
    #[must_use]
    pub fn inflating(mut self, inflates: bool) -> Self {
        self.inflates = inflates;
        self
    }

    /// Sets the server's heartbeat message, which is answered and not passed to the caller.
    #[must_use]
    pub fn answering(mut self, heartbeat: Option<Rc<Heartbeat>>) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Sends encoded frames; bytes that the socket does not accept wait for [`Self::poll_pending`].
    ///
    /// # Errors
    /// The socket is broken, or too many bytes are waiting.
    pub fn send(&mut self, frames: &[u8]) -> anyhow::Result<()> {
        let written = if self.pending.is_empty() { self.write_now(frames)? } else { 0 };
        let rest = &frames[written..];
        ensure!(self.pending.len() + rest.len() <= MAX_PENDING_BYTES, "the server has stopped reading");
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Writes waiting bytes as far as the socket accepts them, and registers the waker for the rest.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn poll_pending(&mut self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        while !self.pending.is_empty() && self.stream.poll_write_ready(cx)?.is_ready() {
            let written = self.write_now(&self.pending)?;
            self.pending.drain(..written);
        }
        Ok(())
    }

    /// Reads once and passes every complete text or binary payload to `on_message`. Ready when a read returned data.
    ///
    /// # Errors
    /// The server closed or broke the connection, or sent an invalid frame.
    pub fn poll_messages(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &ReadBuffer,
        mut on_message: impl FnMut(&[u8]),
    ) -> Poll<anyhow::Result<()>> {
        let mut buffer = buffer.0.borrow_mut();
        let filled = match ready!(self.poll_fill(cx, &mut buffer)) {
            Ok(filled) => filled,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Poll::Ready(self.take_frames(&buffer[..filled], &mut on_message))
    }

    /// Copies retained and newly read bytes to the front of `buffer`; returns their total length.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<anyhow::Result<usize>> {
        let held = self.held.len();
        buffer[..held].copy_from_slice(&self.held);
        if std::mem::take(&mut self.unread) {
            return Poll::Ready(Ok(held));
        }
        let mut arrived = ReadBuf::new(&mut buffer[held..]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
        match arrived.filled().len() {
            0 => Poll::Ready(Err(anyhow::anyhow!("the server ended the connection without a close frame"))),
            count => Poll::Ready(Ok(held + count)),
        }
    }

    fn take_frames(&mut self, mut bytes: &[u8], on_message: &mut impl FnMut(&[u8])) -> anyhow::Result<()> {
        while let Some((frame, used)) = frame::decode(bytes)? {
            bytes = &bytes[used..];
            match frame.opcode {
                _ if frame.compressed && !self.inflates => bail!(FrameError::Extension),
                opcode::TEXT | opcode::BINARY if frame.compressed => inflate(frame.payload, &mut *on_message)?,
                opcode::TEXT if self.is_heartbeat(frame.payload) => self.reply()?,
                opcode::TEXT | opcode::BINARY => on_message(frame.payload),
                opcode::PING => self.send(&websocket::encode(opcode::PONG, frame.payload))?,
                opcode::CLOSE => bail!("the server closed the connection with {}", close_code(frame.payload)),
                _ => {}
            }
        }
        self.held.clear();
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    fn is_heartbeat(&self, payload: &[u8]) -> bool {
        self.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.request == payload)
    }

    fn reply(&mut self) -> anyhow::Result<()> {
        match self.heartbeat.clone() {
            Some(heartbeat) => self.send(&heartbeat.reply),
            None => Ok(()),
        }
    }

    /// Reads and discards messages until the connection ends, answering pings, as an idle client does.
    ///
    /// # Errors
    /// Always returns the reason for the end.
    pub async fn read_until_closed(&mut self, buffer: &ReadBuffer) -> anyhow::Error {
        std::future::poll_fn(|cx| {
            loop {
                if let Err(error) = self.poll_pending(cx) {
                    return Poll::Ready(error);
                }
                if let Err(error) = ready!(self.poll_messages(cx, buffer, |_| {})) {
                    return Poll::Ready(error);
                }
            }
        })
        .await
    }

    /// Reads until a message contains `marker`; discards others.
    ///
    /// # Errors
    /// The connection ends first.
    pub async fn until_message(&mut self, buffer: &ReadBuffer, marker: &[u8]) -> anyhow::Result<()> {
        let mut found = marker.is_empty();
        std::future::poll_fn(|cx| {
            while !found {
                self.poll_pending(cx)?;
                ready!(self.poll_messages(cx, buffer, |payload| {
                    found |= payload.windows(marker.len()).any(|window| window == marker);
                }))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Closes with 1000 and waits until the server ends the TCP connection, so that TIME_WAIT stays with the server
    /// and the generator does not run out of ports (RFC 6455, section 7.1.1).
    ///
    /// # Errors
    /// The server does not end the connection in time.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let close_frame = websocket::encode(opcode::CLOSE, &1000u16.to_be_bytes());
        let closing = async {
            self.stream.write_all(&close_frame).await?;
            let mut ignored = [0; 512];
            while self.stream.read(&mut ignored).await? > 0 {}
            Ok::<(), io::Error>(())
        };
        timeout(CLOSE_TIMEOUT, closing).await??;
        Ok(())
    }
}

fn close_code(payload: &[u8]) -> String {
    websocket::close_status(payload).map_or_else(|| "no code".to_owned(), |(code, _)| format!("code {code}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns a connection and the server's socket; `read_ahead` arrived with the handshake.
    async fn pair(read_ahead: &[u8]) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Connection::new(client, read_ahead.to_vec()), server)
    }

    #[tokio::test]
    async fn a_fragmented_read_yields_one_message() {
        let (mut connection, mut server) = pair(b"\x81\x05He").await;
        let buffer = ReadBuffer::new();
        let (found, ()) = tokio::join!(connection.until_message(&buffer, b"Hello"), async {
            server.write_all(b"l").await.unwrap();
            tokio::task::yield_now().await;
            server.write_all(b"lo\x81").await.unwrap();
        });
        found.unwrap();
        server.write_all(b"\x02ok").await.unwrap();
        connection.until_message(&buffer, b"ok").await.unwrap();
    }

    #[tokio::test]
    async fn pings_are_answered_and_a_close_reports_its_code() {
        let (mut connection, mut server) = pair(b"").await;
        server.write_all(b"\x89\x02hi\x88\x02\x03\xf0").await.unwrap();
        let reason = connection.read_until_closed(&ReadBuffer::new()).await;
        assert!(reason.to_string().contains("code 1008"), "{reason:#}");
        let mut pong = [0; 8];
        server.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong[..], websocket::encode(opcode::PONG, b"hi"));
    }

    #[tokio::test]
    async fn a_heartbeat_is_answered_and_not_counted() {
        let (connection, mut server) = pair(b"").await;
        let mut connection = connection.answering(Some(Rc::new(Heartbeat::new("2", "3"))));
        server.write_all(b"\x81\x012\x81\x0222").await.unwrap();
        let mut seen = Vec::new();
        let buffer = ReadBuffer::new();
        let read = |cx: &mut Context<'_>| connection.poll_messages(cx, &buffer, |payload| seen.push(payload.to_vec()));
        std::future::poll_fn(read).await.unwrap();
        assert_eq!(seen, [b"22"]);
        let mut reply = [0; 7];
        server.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply[..], websocket::encode(opcode::TEXT, b"3"));
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_is_detected() {
        let (mut connection, _server) = pair(b"").await;
        let frames = vec![0; 256 * 1024];
        let error = (0..1_000).find_map(|_| connection.send(&frames).err());
        assert!(error.unwrap().to_string().contains("stopped reading"));
        assert!(connection.pending.len() <= MAX_PENDING_BYTES);
    }
}
