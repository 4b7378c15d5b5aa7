//! What a connection's client sends, on its way to the handlers, and what they answer.
//!
//! Invariants: messages start in the order in which they came; one that has to wait its turn is kept, and the client is not
//! read any more when too many are; what was accepted from the client still runs when the connection ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway::close::CloseCause;
use gateway::id::EventIds;
use gateway::reply::{ErrorKind, MessageOutcome};
use tokio::time::Instant;
use websocket::Message;

use super::SessionContext;
use super::invocation::{self, Finished, InFlight, Stamps, Started};
use crate::connection::{Connection, Transport};

/// Messages handled in one turn before other connections get theirs.
const TURN_MESSAGES: usize = 64;

/// One connection's messages under way.
pub struct Dispatch {
    pub(super) handle: Arc<Connection>,
    pub(super) context: Arc<SessionContext>,
    pub(super) stamps: Stamps,
    inbound: VecDeque<String>,
    running: InFlight,
    received: u64,
}

impl Dispatch {
    /// Dispatches what the client of `handle` sends to the handlers behind `context`.
    pub fn new(handle: Arc<Connection>, ids: EventIds, context: Arc<SessionContext>) -> Self {
        let stamps = Stamps::new(ids);
        Self { handle, context, stamps, inbound: VecDeque::new(), running: InFlight::default(), received: 0 }
    }

    /// Counts what went either way in a turn, `sent` frames among it, and notes that something did.
    pub fn count_traffic(&mut self, sent: u64) {
        let received = std::mem::take(&mut self.received);
        if received + sent > 0 {
            self.context.metrics.received.inc_by(received);
            self.context.metrics.sent.inc_by(sent);
            self.handle.touch(Instant::now());
        }
    }

    /// Reads and handles what has arrived, as far as this turn goes.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub fn take_turn(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Result<(), CloseCause> {
        for _ in 0..TURN_MESSAGES {
            let finished = self.finish_running(cx, transport);
            let started = self.start_waiting(cx, transport);
            if !self.read(cx, transport)? && !finished && !started {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Lets what was accepted run to its end, in order, without anyone to answer to.
    pub async fn run_out(&mut self) {
        std::mem::take(&mut self.running).run_out().await;
        while let Some(text) = self.inbound.pop_front() {
            let Some(route) = self.context.integration.api.route_for(&text) else { continue };
            let (_, call) = invocation::message(&self.context, &self.handle, &mut self.stamps, route, text);
            // Nobody is left to see the answer.
            let _ = call.await;
        }
    }

    /// Reads one frame; `false` when there is none or the client has to wait.
    fn read(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Result<bool, CloseCause> {
        if self.inbound.len() >= self.context.settings.inbound_queue {
            return Ok(false);
        }
        let Poll::Ready(message) = transport.poll_read(cx) else { return Ok(false) };
        match message? {
            Message::Text(text) => self.receive(cx, transport, text),
            Message::Binary => return Err(CloseCause::BinaryFrame),
            Message::Close(None) => return Err(CloseCause::ClientWithoutStatus),
            Message::Close(Some((code, reason))) => return Err(CloseCause::Client { code, reason }),
            Message::Heartbeat => {}
        }
        Ok(true)
    }

    fn receive(&mut self, cx: &mut Context<'_>, transport: &mut Transport, text: String) {
        self.received += 1;
        if !self.inbound.is_empty() || transport.is_blocked() {
            self.inbound.push_back(text);
        } else if let Some(text) = self.start(cx, transport, text) {
            self.inbound.push_back(text);
        }
    }

    /// Starts messages that waited; `true` when one was started.
    fn start_waiting(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> bool {
        let mut started = false;
        while !transport.is_blocked() {
            let Some(text) = self.inbound.pop_front() else { break };
            if let Some(text) = self.start(cx, transport, text) {
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
    fn start(&mut self, cx: &mut Context<'_>, transport: &mut Transport, text: String) -> Option<String> {
        let context = self.context.clone();
        let Some(route) = context.integration.api.route_for(&text) else {
            context.metrics.unrouted.inc();
            self.refuse(cx, transport, ErrorKind::Forbidden);
            return None;
        };
        if !self.running.has_room(route.ordering, context.settings.in_flight) {
            return Some(text);
        }
        if !context.throttle.admits_message(route) {
            context.metrics.throttled.inc();
            self.refuse(cx, transport, ErrorKind::TooManyRequests);
            return None;
        }
        if route.model.as_ref().is_some_and(|model| !model.allows(&text)) {
            let message = self.stamps.message(context.integration.clock.now());
            transport.reply(cx, &self.handle, gateway::reply::bad_request_frame(self.handle.id, message));
            return None;
        }
        let (request, future) = invocation::message(&context, &self.handle, &mut self.stamps, route, text);
        match self.running.start(cx, &context, route, request, future) {
            Started::Finished(finished) => self.answer(cx, transport, finished),
            Started::Running => {}
        }
        None
    }

    /// Answers a message that no handler gets.
    fn refuse(&mut self, cx: &mut Context<'_>, transport: &mut Transport, kind: ErrorKind) {
        let (request, _) = self.stamps.request(self.context.integration.clock.now());
        transport.reply(cx, &self.handle, gateway::reply::error_frame(kind, self.handle.id, request));
    }

    /// Takes in the handlers that are done; `true` when there was one.
    fn finish_running(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> bool {
        let mut any = false;
        while let Poll::Ready(finished) = self.running.poll(cx, &self.context) {
            self.answer(cx, transport, finished);
            any = true;
        }
        any
    }

    fn answer(&self, cx: &mut Context<'_>, transport: &mut Transport, finished: Finished) {
        let frame = match finished.outcome {
            MessageOutcome::Silent => return,
            MessageOutcome::Frame(text) => text,
            MessageOutcome::ErrorFrame(kind) => {
                self.context.metrics.failed.inc();
                gateway::reply::error_frame(kind, self.handle.id, finished.request)
            }
        };
        transport.reply(cx, &self.handle, frame);
    }
}
