//! One open connection: frames in, events to the handlers, frames out.
//!
//! A session is one task that polls everything it waits for with one waker: the socket, its outbox, the handlers that
//! run, and one timer. It reads all that has arrived, lets the handlers answer, and flushes once. Invariants: pings are
//! answered while a handler runs; a client that does not read its answers stops being read; a session ends with exactly
//! one [`CloseCause`], and what it had accepted from the client still runs.

mod closing;
mod invocation;
mod timer;

pub mod handle;
pub mod outbox;

pub use self::closing::{disconnect, fire};
pub use self::invocation::Stamps;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway::close::CloseCause;
use gateway::id::EventIds;
use gateway::reply::{ErrorKind, MessageOutcome};
use handlers::channel::Offset;
use handlers::frame::{Frame, Gap, GapReason};
use handlers::ports::Priority;
use tokio::io::{AsyncRead, AsyncWrite};
use websocket::{Message, ReadError, Socket};

use self::handle::Handle;
use self::invocation::{Finished, InFlight, Started};
use self::outbox::{Queued, Shed};
use self::timer::Timer;
use crate::endpoint::Endpoint;

/// Messages handled in one turn before other connections get theirs.
const TURN_MESSAGES: usize = 64;
/// Bytes moved from the outbox to the socket in one go.
const TURN_BYTES: usize = 64 * 1024;

/// An open connection being served.
pub struct Session<S> {
    socket: Socket<S>,
    handle: Arc<Handle>,
    endpoint: Arc<Endpoint>,
    inbound: VecDeque<String>,
    running: InFlight,
    batch: Vec<Queued>,
    stamps: Stamps,
    timer: Timer,
    traffic: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Session<S> {
    /// A session over a socket whose `101` is out, of a connection that the hub has already.
    pub fn new(socket: Socket<S>, handle: Arc<Handle>, ids: EventIds, endpoint: Arc<Endpoint>) -> Self {
        let timer = Timer::new(&endpoint.api.quotas, endpoint.sessions.stalled_write_timeout);
        Self {
            socket,
            handle,
            endpoint,
            inbound: VecDeque::new(),
            running: InFlight::default(),
            batch: Vec::new(),
            stamps: Stamps::new(ids),
            timer,
            traffic: 0,
        }
    }

    /// Serves the connection to its end, `$disconnect` included.
    pub async fn run(mut self) {
        self.endpoint.metrics.sessions.open.inc();
        let cause = poll_fn(|cx| self.poll(cx)).await;
        self.endpoint.hub.close_down(&self.handle);
        self.endpoint.metrics.sessions.open.dec();
        self.endpoint.metrics.sessions.count_closed(cause.name());
        tracing::debug!(connection.id = %self.handle.id, cause = cause.name(), "connection ended");
        self.finish(cause).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        let traffic = self.traffic;
        let mut ended = self.take_turn(cx);
        if ended.is_none() {
            ended = self.write(cx).err();
        }
        if self.traffic != traffic {
            self.note_activity();
        }
        if let Some(cause) = ended.or_else(|| self.timer.poll(cx, self.socket.is_blocked())) {
            return Poll::Ready(cause);
        }
        Poll::Pending
    }

    /// Reads and handles what has arrived, as far as this turn goes.
    fn take_turn(&mut self, cx: &mut Context<'_>) -> Option<CloseCause> {
        for _ in 0..TURN_MESSAGES {
            let finished = self.finish_running(cx);
            let started = self.start_waiting(cx);
            match self.read(cx) {
                Ok(true) => {}
                Ok(false) if finished || started => {}
                Ok(false) => return None,
                Err(cause) => return Some(cause),
            }
        }
        cx.waker().wake_by_ref();
        None
    }

    /// Reads one frame; `false` when there is none or the client has to wait.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseCause> {
        if self.inbound.len() >= self.endpoint.sessions.inbound_queue {
            return Ok(false);
        }
        let message = match self.socket.poll_read(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(message)) => message,
            Poll::Ready(Err(error)) => return Err(cause_of(error)),
        };
        match message {
            Message::Text(text) => self.receive(cx, text),
            Message::Binary => return Err(CloseCause::BinaryFrame),
            Message::Close(None) => return Err(CloseCause::ClientWithoutStatus),
            Message::Close(Some((code, reason))) => return Err(CloseCause::Client { code, reason }),
            Message::Heartbeat => {}
        }
        Ok(true)
    }

    fn receive(&mut self, cx: &mut Context<'_>, text: String) {
        self.traffic += 1;
        self.endpoint.metrics.sessions.received.inc();
        if self.inbound.is_empty() && !self.socket.is_blocked() {
            if let Some(text) = self.start(cx, text) {
                self.inbound.push_back(text);
            }
        } else {
            self.inbound.push_back(text);
        }
    }

    /// Starts messages that waited; `true` when one was started.
    fn start_waiting(&mut self, cx: &mut Context<'_>) -> bool {
        let mut started = false;
        while !self.socket.is_blocked() {
            let Some(text) = self.inbound.pop_front() else { break };
            if let Some(text) = self.start(cx, text) {
                self.inbound.push_front(text);
                break;
            }
            started = true;
        }
        if started && self.inbound.is_empty() {
            self.inbound.shrink_to(0);
        }
        started
    }

    /// Routes a message and starts its handler. Gives the message back when it has to wait its turn.
    fn start(&mut self, cx: &mut Context<'_>, text: String) -> Option<String> {
        let endpoint = self.endpoint.clone();
        let Some(route) = endpoint.api.route_for(&text) else {
            endpoint.metrics.sessions.unrouted.inc();
            self.refuse(cx, ErrorKind::Forbidden);
            return None;
        };
        if !self.running.has_room(route.ordering, endpoint.sessions.in_flight) {
            return Some(text);
        }
        if !endpoint.access.throttle.admits_message(route) {
            endpoint.metrics.sessions.throttled.inc();
            self.refuse(cx, ErrorKind::TooManyRequests);
            return None;
        }
        if route.model.as_ref().is_some_and(|model| !model.allows(&text)) {
            let message = self.stamps.message(endpoint.clock.now());
            self.reply(cx, gateway::reply::bad_request_frame(self.handle.id, message));
            return None;
        }
        let (request, future) = invocation::message(&endpoint, &self.handle, &mut self.stamps, route, text);
        match self.running.start(cx, &endpoint, route, request, future) {
            Started::Finished(finished) => self.answer(cx, finished),
            Started::Running => {}
        }
        None
    }

    /// Answers a message that no handler gets.
    fn refuse(&mut self, cx: &mut Context<'_>, kind: ErrorKind) {
        let (request, _) = self.stamps.request(self.endpoint.clock.now());
        self.reply(cx, gateway::reply::error_frame(kind, self.handle.id, request));
    }

    /// Takes in the handlers that are done; `true` when there was one.
    fn finish_running(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(finished) = self.running.poll(cx, &self.endpoint) {
            self.answer(cx, finished);
            any = true;
        }
        any
    }

    fn answer(&mut self, cx: &mut Context<'_>, finished: Finished) {
        let frame = match finished.outcome {
            MessageOutcome::Silent => return,
            MessageOutcome::Frame(text) => text,
            MessageOutcome::ErrorFrame(kind) => {
                self.endpoint.metrics.sessions.failed.inc();
                gateway::reply::error_frame(kind, self.handle.id, finished.request)
            }
        };
        self.reply(cx, frame);
    }

    /// Sends a handler's answer behind everything that the handler delivered to this connection before.
    fn reply(&mut self, cx: &mut Context<'_>, text: String) {
        // A write error shows again at the flush that ends this turn.
        let _ = self.empty_outbox(cx);
        if self.socket.is_blocked() {
            self.handle.push(Priority::Direct, Queued { text: text.into(), placement: None });
        } else if self.socket.feed(cx, text.as_bytes()).is_ok() {
            self.count_sent(1);
        }
    }

    /// Moves the outbox to the socket and flushes.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseCause> {
        loop {
            let emptied = self.empty_outbox(cx)?;
            if self.socket.poll_flush(cx).map_err(cause_of)?.is_pending() {
                // Still woken for a request to end, but the frames stay where they can be shed.
                let (_, close) = self.handle.outbox().drain(cx, &mut self.batch, 0);
                return close.filter(|cause| *cause == CloseCause::SlowConsumer).map_or(Ok(()), Err);
            }
            if emptied {
                return Ok(());
            }
        }
    }

    /// Moves what is in line to the socket, as far as it takes it; `true` when nothing was left, and what comes next wakes the
    /// session.
    fn empty_outbox(&mut self, cx: &mut Context<'_>) -> Result<bool, CloseCause> {
        while !self.socket.is_blocked() {
            let (shed, close) = self.handle.outbox().drain(cx, &mut self.batch, TURN_BYTES);
            if self.batch.is_empty() && shed.is_none() {
                return close.map_or(Ok(true), Err);
            }
            let taken: usize = self.batch.iter().map(|queued| queued.text.len()).sum();
            self.count_sent(self.batch.len() as u64);
            for queued in self.batch.drain(..) {
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
        if self.handle.identity.is_none() {
            return Ok(());
        }
        for (channel, (from, to)) in &shed.channels {
            let gap = Gap {
                channel: &channel.name,
                from: Offset(*from),
                to: to.offset,
                epoch: &to.epoch,
                reason: GapReason::Slow,
            };
            self.socket.feed(cx, &gap.encode()).map_err(cause_of)?;
            self.count_sent(1);
        }
        Ok(())
    }

    fn count_sent(&mut self, frames: u64) {
        self.traffic += frames;
        self.endpoint.metrics.sessions.sent.inc_by(frames);
    }

    fn note_activity(&mut self) {
        self.handle.touch(self.endpoint.clock.now());
        self.timer.touch();
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
