//! TCP stream of an HTTP connection that records what its deadlines need: requests, blocked writes, rejected bodies.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Maximum bytes of a rejected body that are read and discarded while the client receives the response.
const MAX_LINGER_BYTES: usize = 32 * 1024 * 1024;
/// Bytes discarded per read.
const LINGER_READ_BYTES: usize = 8 * 1024;

/// Activity of one HTTP connection. One task reads and writes it; the atomics only make it `Sync`.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    started_requests: AtomicU64,
    finished_requests: AtomicU64,
    written_bytes: AtomicU64,
    write_blocked: AtomicBool,
    body_rejected: AtomicBool,
    lingering: AtomicBool,
}

impl ConnectionActivity {
    /// Counts a request whose head was received.
    pub(super) fn start_request(&self) {
        self.started_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a response that is ready to be written.
    pub(super) fn finish_request(&self) {
        self.finished_requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that the connection closes after a response whose request body was not read.
    pub(super) fn reject_body(&self) {
        self.body_rejected.store(true, Ordering::Relaxed);
    }

    /// Returns the number of requests received.
    pub(super) fn requests(&self) -> u64 {
        self.started_requests.load(Ordering::Relaxed)
    }

    /// Returns whether a request waits for its response.
    pub(super) fn is_request_pending(&self) -> bool {
        self.requests() != self.finished_requests.load(Ordering::Relaxed)
    }

    /// Returns whether the last write would have blocked.
    pub(super) fn is_write_blocked(&self) -> bool {
        self.write_blocked.load(Ordering::Relaxed)
    }

    /// Returns whether the response to a rejected body is written and the rest of the body is being discarded.
    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that the kernel has accepted.
    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }
}

/// TCP stream that records its activity. After a rejected body its shutdown discards input until the client closes: a
/// socket that is closed with unread data sends a reset, and the client may lose the response (RFC 9112 section 9.6).
#[derive(Debug)]
pub struct MonitoredStream {
    stream: TcpStream,
    activity: Arc<ConnectionActivity>,
    discarded_bytes: usize,
}

impl MonitoredStream {
    pub(super) const fn new(stream: TcpStream, activity: Arc<ConnectionActivity>) -> Self {
        Self { stream, activity, discarded_bytes: 0 }
    }

    /// Returns the TCP stream, for an upgraded connection.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn record_write(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.write_blocked.store(written.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(bytes)) = written {
            self.activity.written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_discard_input(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.activity.lingering.store(true, Ordering::Relaxed);
        while self.discarded_bytes < MAX_LINGER_BYTES {
            let mut bytes = [0; LINGER_READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.discarded_bytes += buffer.filled().len();
        }
        Poll::Ready(())
    }
}

impl AsyncRead for MonitoredStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MonitoredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.record_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.record_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.activity.is_lingering() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.activity.body_rejected.load(Ordering::Relaxed) {
            ready!(self.poll_discard_input(cx));
        }
        Poll::Ready(Ok(()))
    }
}
