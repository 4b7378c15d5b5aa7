//! The socket of a session, and how its connection's outbox is written to it.
//!
//! It stands in the connection's [`Connection`] behind a lock, because two write to it: the session, which answers what it read,
//! and whoever passes a broadcast on to many, to whom a turn of every session would cost more than the writing itself.
//! Invariants: frames leave in the order in which they were put in line, whoever writes them, because both drain the
//! outbox under the lock. Only the session waits: for the lock, for the client to read, for the end.

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

/// Bytes moved from the outbox to the socket in one go.
const MAX_BYTES_PER_TURN: usize = 64 * 1024;

/// Frames for which a thread keeps room.
const RETAINED_BATCH_CAPACITY: usize = 1024;

thread_local! {
    /// Frames between an outbox and a socket: room for them belongs to the thread, not to each connection.
    static BATCH: Cell<Vec<OutboundFrame>> = const { Cell::new(Vec::new()) };
}

/// The bytes beneath a socket: a TCP stream, in all that this process accepts.
pub type SocketStream = Either<TcpStream, Box<dyn ByteStream>>;

/// Any other stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A socket and what it takes to write a connection's outbox to it.
pub struct Transport {
    socket: WebSocket<SocketStream>,
    waker: Waker,
    sent_frames: u64,
    notices: Option<Arc<dyn ClientNotices>>,
}

impl Transport {
    /// Writes to a socket. `notices` says what a client is sent whose messages were dropped.
    pub fn new(socket: WebSocket<SocketStream>, notices: Option<Arc<dyn ClientNotices>>) -> Self {
        Self { socket, waker: Waker::noop().clone(), sent_frames: 0, notices }
    }

    /// Writes what is in line without the session, whose task whatever has to be waited for wakes, and returns how many
    /// frames that were.
    pub fn flush_without_session(&mut self, handle: &Connection) -> u64 {
        let waker = std::mem::replace(&mut self.waker, Waker::noop().clone());
        let written = self.flush_outbox(&mut Context::from_waker(&waker), handle);
        self.waker = waker;
        if written.is_err() || self.is_blocked() {
            // It ends the connection, or sets its timer.
            handle.wake_session();
        }
        self.take_sent_frames()
    }

    /// Whether the kernel takes no more for now.
    pub const fn is_blocked(&self) -> bool {
        self.socket.is_write_blocked()
    }

    /// The next message from the client.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<SocketMessage, CloseCause>> {
        self.socket.poll_read(cx).map_err(close_cause_of)
    }

    /// Sends an answer behind everything that was put in line before.
    pub fn send_reply(&mut self, cx: &mut Context<'_>, handle: &Connection, text: String) {
        // A write error shows again at the flush that ends this turn.
        let _ = self.write_outbox(cx, handle);
        if self.is_blocked() {
            handle.push(Priority::Direct, OutboundFrame { text: text.into(), placement: None });
        } else if self.socket.enqueue_text(cx, text.as_bytes()).is_ok() {
            self.sent_frames += 1;
        }
    }

    /// Moves the outbox to the socket and flushes.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub fn flush_outbox(&mut self, cx: &mut Context<'_>, handle: &Connection) -> Result<(), CloseCause> {
        loop {
            let emptied = self.write_outbox(cx, handle)?;
            if self.socket.poll_flush(cx).map_err(close_cause_of)?.is_pending() {
                // Still woken for a request to end, but the frames stay where they can be shed.
                let (_, close) = handle.outbox().drain(cx, &mut Vec::new(), 0);
                return close.filter(|cause| *cause == CloseCause::SlowConsumer).map_or(Ok(()), Err);
            }
            if emptied {
                return Ok(());
            }
        }
    }

    /// Moves what is in line to the socket, as far as it takes it; `true` when nothing was left, and what comes next wakes the
    /// session.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub fn write_outbox(&mut self, cx: &mut Context<'_>, handle: &Connection) -> Result<bool, CloseCause> {
        let mut batch = BATCH.take();
        let emptied = self.move_batches(cx, handle, &mut batch);
        batch.shrink_to(RETAINED_BATCH_CAPACITY);
        BATCH.set(batch);
        emptied
    }

    fn move_batches(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Connection,
        batch: &mut Vec<OutboundFrame>,
    ) -> Result<bool, CloseCause> {
        while !self.is_blocked() {
            let (shed, close) = handle.outbox().drain(cx, batch, MAX_BYTES_PER_TURN);
            if batch.is_empty() && shed.is_none() {
                return close.map_or(Ok(true), Err);
            }
            let taken: usize = batch.iter().map(|queued| queued.text.len()).sum();
            self.sent_frames += batch.len() as u64;
            for queued in batch.drain(..) {
                self.socket.enqueue_shared(cx, &queued.text).map_err(close_cause_of)?;
            }
            if let Some(shed) = shed {
                self.send_gaps(cx, &shed)?;
            }
            if taken < MAX_BYTES_PER_TURN && close.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells the client which messages it was not sent, so that it fetches them.
    fn send_gaps(&mut self, cx: &mut Context<'_>, shed: &DroppedFrames) -> Result<(), CloseCause> {
        let Some(notices) = &self.notices else { return Ok(()) };
        for frame in notices.slow_reader(shed) {
            self.socket.enqueue_text(cx, &frame).map_err(close_cause_of)?;
            self.sent_frames += 1;
        }
        Ok(())
    }

    /// Wakes this task from now on for what has to be waited for.
    pub fn set_waker(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker = waker.clone();
        }
    }

    /// How many frames were written since this was asked last.
    pub const fn take_sent_frames(&mut self) -> u64 {
        std::mem::replace(&mut self.sent_frames, 0)
    }

    /// The socket, to end it.
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
