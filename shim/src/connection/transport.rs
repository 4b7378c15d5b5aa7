//! The socket of a connection, and the flush of the outbox to it.
//!
//! The [`Connection`] holds the transport under a lock, because two parties write to it: the session, which sends
//! replies, and the writers of a fan-out (`hub::fan_out`), for which waking every session would cost more than the
//! write itself. Both drain the outbox under the lock, so frames of one priority leave in the order in which they were
//! queued. Only the session waits: for the lock, for the client to read, for the close.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gateway::close::CloseCause;
use handlers::ports::Priority;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use websocket::{SocketError, SocketMessage, WebSocket};

use super::outbox::{DroppedFrames, OutboundFrame};
use super::{ClientNotices, Connection};

/// Bytes moved from the outbox to the socket per drain.
const MAX_BYTES_PER_DRAIN: usize = 64 * 1024;

/// Maximum capacity of the thread-local batch between flushes, in frames.
const RETAINED_BATCH_CAPACITY: usize = 1024;

thread_local! {
    /// Frames on their way from an outbox to a socket. The buffer belongs to the thread, so that idle connections need
    /// none.
    static BATCH: Cell<Vec<OutboundFrame>> = const { Cell::new(Vec::new()) };
}

/// Byte stream of a WebSocket. Always a TCP stream, except in tests.
pub type SocketStream = Either<TcpStream, Box<dyn ByteStream>>;

/// Any other bidirectional byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A WebSocket and the state of writing a connection's outbox to it.
pub struct Transport {
    socket: WebSocket<SocketStream>,
    waker: Waker,
    sent_frames: u64,
    notices: Option<Arc<dyn ClientNotices>>,
}

impl Transport {
    /// Creates a transport for `socket`. `notices` encodes the report of dropped messages to the client.
    pub fn new(socket: WebSocket<SocketStream>, notices: Option<Arc<dyn ClientNotices>>) -> Self {
        Self { socket, waker: Waker::noop().clone(), sent_frames: 0, notices }
    }

    /// Flushes the outbox on behalf of the session task and returns the number of frames written. Anything that would
    /// block is left to the session, which is woken for it.
    pub fn flush_without_session(&mut self, connection: &Connection) -> u64 {
        let waker = std::mem::replace(&mut self.waker, Waker::noop().clone());
        let written = self.flush_outbox(&mut Context::from_waker(&waker), connection);
        self.waker = waker;
        if written.is_err() || self.is_blocked() {
            // The session closes the connection, or starts the stalled-write timer.
            connection.wake_session();
        }
        self.take_sent_frames()
    }

    /// Returns whether the last write would have blocked.
    pub const fn is_blocked(&self) -> bool {
        self.socket.is_write_blocked()
    }

    /// Reads the next message from the client.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<SocketMessage, CloseCause>> {
        self.socket.poll_read(cx).map_err(close_cause_of)
    }

    /// Sends a reply after all frames that are already queued.
    pub fn send_reply(&mut self, cx: &mut Context<'_>, connection: &Connection, text: String) {
        // The flush at the end of this poll reports a write error again.
        let _ = self.write_outbox(cx, connection);
        if self.is_blocked() {
            connection.push(Priority::Direct, OutboundFrame { text: text.into(), placement: None });
        } else if self.socket.enqueue_text(cx, text.as_bytes()).is_ok() {
            self.sent_frames += 1;
        }
    }

    /// Returns whether bytes of the client have arrived since the last call.
    pub const fn take_received(&mut self) -> bool {
        self.socket.take_received()
    }

    /// Sends a ping.
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    pub fn send_ping(&mut self, cx: &mut Context<'_>) -> Result<(), CloseCause> {
        self.socket.enqueue_ping();
        if self.socket.poll_flush(cx).map_err(close_cause_of)?.is_pending() {
            // The next poll starts the stalled-write timer.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Moves the outbox to the socket and flushes.
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    pub fn flush_outbox(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Result<(), CloseCause> {
        loop {
            let emptied = self.write_outbox(cx, connection)?;
            if self.socket.poll_flush(cx).map_err(close_cause_of)?.is_pending() {
                // Registers the waker for a close request, but leaves the frames in the outbox, where they can be
                // dropped.
                let (_, close) = connection.outbox().drain(cx, &mut Vec::new(), 0);
                return close.filter(|cause| *cause == CloseCause::SlowConsumer).map_or(Ok(()), Err);
            }
            if emptied {
                return Ok(());
            }
        }
    }

    /// Moves queued frames to the socket until it would block. Returns `true` if the outbox is empty; the next frame
    /// then wakes the session.
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    pub fn write_outbox(&mut self, cx: &mut Context<'_>, connection: &Connection) -> Result<bool, CloseCause> {
        let mut batch = BATCH.take();
        let emptied = self.move_batches(cx, connection, &mut batch);
        batch.shrink_to(RETAINED_BATCH_CAPACITY);
        BATCH.set(batch);
        emptied
    }

    fn move_batches(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
        batch: &mut Vec<OutboundFrame>,
    ) -> Result<bool, CloseCause> {
        while !self.is_blocked() {
            let (dropped, close) = connection.outbox().drain(cx, batch, MAX_BYTES_PER_DRAIN);
            if batch.is_empty() && dropped.is_none() {
                return close.map_or(Ok(true), Err);
            }
            let moved_bytes: usize = batch.iter().map(|frame| frame.text.len()).sum();
            self.sent_frames += batch.len() as u64;
            for frame in batch.drain(..) {
                self.socket.enqueue_shared(cx, &frame.text).map_err(close_cause_of)?;
            }
            if let Some(dropped) = dropped {
                self.send_gaps(cx, &dropped)?;
            }
            if moved_bytes < MAX_BYTES_PER_DRAIN && close.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the client a notice of the dropped messages, so that it can fetch them.
    fn send_gaps(&mut self, cx: &mut Context<'_>, dropped: &DroppedFrames) -> Result<(), CloseCause> {
        let Some(notices) = &self.notices else { return Ok(()) };
        for frame in notices.slow_consumer(dropped) {
            self.socket.enqueue_text(cx, &frame).map_err(close_cause_of)?;
            self.sent_frames += 1;
        }
        Ok(())
    }

    /// Sets the task to wake when the socket becomes writable.
    pub fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker = waker.clone();
        }
    }

    /// Returns the number of frames written since the last call.
    pub const fn take_sent_frames(&mut self) -> u64 {
        std::mem::replace(&mut self.sent_frames, 0)
    }

    /// Returns the socket, for the close handshake.
    pub const fn socket(&mut self) -> &mut WebSocket<SocketStream> {
        &mut self.socket
    }
}

fn close_cause_of(error: SocketError) -> CloseCause {
    match error {
        SocketError::FrameTooBig => CloseCause::FrameTooBig,
        SocketError::MessageTooBig => CloseCause::MessageTooBig,
        SocketError::InvalidUtf8 => CloseCause::InvalidUtf8,
        SocketError::InvalidDeflate => CloseCause::InvalidDeflate,
        SocketError::Protocol => CloseCause::ProtocolError,
        SocketError::ConnectionLost => CloseCause::ConnectionLost,
    }
}

#[cfg(test)]
pub(crate) mod tests;
