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
use websocket::{Message, ReadError, Socket};

use super::outbox::{Queued, Shed};
use super::{ClientNotices, Connection};

/// Bytes moved from the outbox to the socket in one go.
const TURN_BYTES: usize = 64 * 1024;

/// Frames for which a thread keeps room.
const KEPT: usize = 1024;

thread_local! {
    /// Frames between an outbox and a socket: room for them belongs to the thread, not to each connection.
    static BATCH: Cell<Vec<Queued>> = const { Cell::new(Vec::new()) };
}

/// The bytes beneath a socket: a TCP stream, in all that this process accepts.
pub type Stream = Either<TcpStream, Box<dyn ByteStream>>;

/// Any other stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// A socket and what it takes to write a connection's outbox to it.
pub struct Transport {
    socket: Socket<Stream>,
    waker: Waker,
    sent: u64,
    notices: Option<Arc<dyn ClientNotices>>,
}

impl Transport {
    /// Writes to a socket. `notices` says what a client is sent whose messages were dropped.
    pub fn new(socket: Socket<Stream>, notices: Option<Arc<dyn ClientNotices>>) -> Self {
        Self { socket, waker: Waker::noop().clone(), sent: 0, notices }
    }

    /// Writes what is in line without the session, whose task whatever has to be waited for wakes, and returns how many
    /// frames that were.
    pub fn write_through(&mut self, handle: &Connection) -> u64 {
        let waker = std::mem::replace(&mut self.waker, Waker::noop().clone());
        let written = self.write(&mut Context::from_waker(&waker), handle);
        self.waker = waker;
        if written.is_err() || self.is_blocked() {
            // It ends the connection, or sets its timer.
            handle.leave_to_session();
        }
        self.take_sent()
    }

    /// Whether the kernel takes no more for now.
    pub const fn is_blocked(&self) -> bool {
        self.socket.is_blocked()
    }

    /// The next message from the client.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, CloseCause>> {
        self.socket.poll_read(cx).map_err(cause_of)
    }

    /// Sends an answer behind everything that was put in line before.
    pub fn reply(&mut self, cx: &mut Context<'_>, handle: &Connection, text: String) {
        // A write error shows again at the flush that ends this turn.
        let _ = self.empty_outbox(cx, handle);
        if self.is_blocked() {
            handle.push(Priority::Direct, Queued { text: text.into(), placement: None });
        } else if self.socket.feed(cx, text.as_bytes()).is_ok() {
            self.sent += 1;
        }
    }

    /// Moves the outbox to the socket and flushes.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub fn write(&mut self, cx: &mut Context<'_>, handle: &Connection) -> Result<(), CloseCause> {
        loop {
            let emptied = self.empty_outbox(cx, handle)?;
            if self.socket.poll_flush(cx).map_err(cause_of)?.is_pending() {
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
    pub fn empty_outbox(&mut self, cx: &mut Context<'_>, handle: &Connection) -> Result<bool, CloseCause> {
        let mut batch = BATCH.take();
        let emptied = self.move_batches(cx, handle, &mut batch);
        batch.shrink_to(KEPT);
        BATCH.set(batch);
        emptied
    }

    fn move_batches(
        &mut self,
        cx: &mut Context<'_>,
        handle: &Connection,
        batch: &mut Vec<Queued>,
    ) -> Result<bool, CloseCause> {
        while !self.is_blocked() {
            let (shed, close) = handle.outbox().drain(cx, batch, TURN_BYTES);
            if batch.is_empty() && shed.is_none() {
                return close.map_or(Ok(true), Err);
            }
            let taken: usize = batch.iter().map(|queued| queued.text.len()).sum();
            self.sent += batch.len() as u64;
            for queued in batch.drain(..) {
                self.socket.feed_shared(cx, &queued.text).map_err(cause_of)?;
            }
            if let Some(shed) = shed {
                self.tell_shed(cx, &shed)?;
            }
            if taken < TURN_BYTES && close.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tells the client which messages it was not sent, so that it fetches them.
    fn tell_shed(&mut self, cx: &mut Context<'_>, shed: &Shed) -> Result<(), CloseCause> {
        let Some(notices) = &self.notices else { return Ok(()) };
        for frame in notices.slow_reader(shed) {
            self.socket.feed(cx, &frame).map_err(cause_of)?;
            self.sent += 1;
        }
        Ok(())
    }

    /// Wakes this task from now on for what has to be waited for.
    pub fn wakes(&mut self, waker: &Waker) {
        if !self.waker.will_wake(waker) {
            self.waker = waker.clone();
        }
    }

    /// How many frames were written since this was asked last.
    pub const fn take_sent(&mut self) -> u64 {
        std::mem::replace(&mut self.sent, 0)
    }

    /// The socket, to end it.
    pub const fn socket(&mut self) -> &mut Socket<Stream> {
        &mut self.socket
    }
}

fn cause_of(error: ReadError) -> CloseCause {
    match error {
        ReadError::FrameTooBig => CloseCause::FrameTooBig,
        ReadError::MessageTooBig => CloseCause::MessageTooBig,
        ReadError::InvalidUtf8 => CloseCause::InvalidUtf8,
        ReadError::InvalidDeflate => CloseCause::InvalidDeflate,
        ReadError::Protocol => CloseCause::ProtocolError,
        ReadError::Lost => CloseCause::ConnectionLost,
    }
}

#[cfg(test)]
pub(crate) mod tests;
