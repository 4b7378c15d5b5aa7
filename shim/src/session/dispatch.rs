//! Dispatch of a client's messages to the handlers, and of their replies to the client.
//!
//! Handlers start in the order in which the messages arrived. A message that cannot start yet is queued; when the queue
//! is full, in messages or, together with the running handlers, in bytes, the client is no longer read. Queued messages
//! are still handled after the connection has closed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use gateway::close::CloseCause;
use gateway::id::EventIds;
use gateway::reply::{ErrorFrameKind, MessageOutcome};
use tokio::time::Instant;
use websocket::SocketMessage;

use super::SessionContext;
use super::invocation::{self, EventStamper, FinishedHandler, HandlerStart, InFlight, InFlightLimits};
use crate::access::UserBudget;
use crate::access::throttle::TokenBucket;
use crate::connection::{Connection, Transport};

/// Maximum messages handled per poll of the session, for fairness between connections.
const MAX_MESSAGES_PER_POLL: usize = 64;

/// Queued messages and running handlers of one connection.
pub struct MessageDispatcher {
    pub(super) connection: Arc<Connection>,
    pub(super) context: Arc<SessionContext>,
    pub(super) event_stamper: EventStamper,
    inbound_queue: VecDeque<String>,
    queued_bytes: usize,
    budget: Option<TokenBucket>,
    user_budget: Option<Arc<UserBudget>>,
    in_flight: InFlight,
    received_messages: u64,
}

impl MessageDispatcher {
    /// Creates the dispatcher of a connection. `ids` generates the ids of its events.
    pub fn new(connection: Arc<Connection>, ids: EventIds, context: Arc<SessionContext>) -> Self {
        let budget = context.throttle.connection_bucket();
        let user_budget = context.throttle.user_budget(connection.facts.authorizer.as_deref());
        Self {
            connection,
            context,
            event_stamper: EventStamper::new(ids),
            inbound_queue: VecDeque::new(),
            queued_bytes: 0,
            budget,
            user_budget,
            in_flight: InFlight::default(),
            received_messages: 0,
        }
    }

    /// Adds the messages received and the `sent` frames of a poll to the metrics, and records the activity.
    pub fn record_traffic(&mut self, sent: u64) {
        let received = std::mem::take(&mut self.received_messages);
        if received + sent > 0 {
            self.context.metrics.received_messages.inc_by(received);
            self.context.metrics.sent_frames.inc_by(sent);
            self.connection.record_activity(Instant::now());
        }
    }

    /// Returns whether the client is not read, because too many messages wait for their handler, or because those that
    /// wait or are handled are too large. The next message may be as large as the quota, so the memory of all is at
    /// most `inbound_bytes` and one message.
    pub fn is_reading_paused(&self) -> bool {
        let settings = &self.context.settings;
        let bytes = self.queued_bytes + self.in_flight.message_bytes();
        let is_full = !self.inbound_queue.is_empty() && self.inbound_queue.len() >= settings.inbound_queue;
        is_full || (bytes > 0 && bytes >= settings.inbound_bytes)
    }

    /// Reads and dispatches received messages and sends finished replies, up to [`MAX_MESSAGES_PER_POLL`].
    ///
    /// # Errors
    /// The cause for which the connection must be closed.
    pub fn process_messages(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Result<(), CloseCause> {
        for _ in 0..MAX_MESSAGES_PER_POLL {
            let finished = self.complete_finished(cx, transport);
            let started = self.start_queued(cx, transport);
            if !self.read_message(cx, transport)? && !finished && !started {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Runs all accepted messages to completion, in order, after the connection has closed. Replies are discarded.
    pub async fn drain_messages(&mut self) {
        std::mem::take(&mut self.in_flight).drain_handlers().await;
        while let Some(text) = self.inbound_queue.pop_front() {
            let Some(route) = self.context.integration.api.route_for(&text) else { continue };
            let (_, call) = invocation::invoke_message_handler(
                &self.context,
                &self.connection,
                &mut self.event_stamper,
                route,
                text,
            );
            let _ = call.await;
        }
    }

    /// Reads one message. Returns `false` if none has arrived or the queue is full.
    fn read_message(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Result<bool, CloseCause> {
        if self.is_reading_paused() {
            return Ok(false);
        }
        let Poll::Ready(message) = transport.poll_read(cx) else { return Ok(false) };
        match message? {
            SocketMessage::Text(text) => self.receive_message(cx, transport, text),
            SocketMessage::Binary => return Err(CloseCause::BinaryFrame),
            SocketMessage::Close(None) => return Err(CloseCause::ClientWithoutStatus),
            SocketMessage::Close(Some((code, reason))) => return Err(CloseCause::Client { code, reason }),
            SocketMessage::PingOrPong => {}
        }
        Ok(true)
    }

    fn receive_message(&mut self, cx: &mut Context<'_>, transport: &mut Transport, text: String) {
        self.received_messages += 1;
        let waits = !self.inbound_queue.is_empty() || transport.is_blocked();
        let waiting = if waits { Some(text) } else { self.start_message(cx, transport, text) };
        if let Some(text) = waiting {
            self.queued_bytes += text.len();
            self.inbound_queue.push_back(text);
        }
    }

    /// Starts the handlers of queued messages. Returns `true` if at least one was started.
    fn start_queued(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> bool {
        let mut started = false;
        while !transport.is_blocked() {
            let Some(text) = self.inbound_queue.pop_front() else { break };
            let bytes = text.len();
            if let Some(text) = self.start_message(cx, transport, text) {
                self.inbound_queue.push_front(text);
                break;
            }
            self.queued_bytes -= bytes;
            started = true;
        }
        if started && self.inbound_queue.is_empty() {
            self.inbound_queue.shrink_to(0);
        }
        started
    }

    /// Routes a message and starts its handler. Returns the message if it must be queued.
    fn start_message(&mut self, cx: &mut Context<'_>, transport: &mut Transport, text: String) -> Option<String> {
        let context = self.context.clone();
        let Some(route) = context.integration.api.route_for(&text) else {
            context.metrics.unrouted_messages.inc();
            let within_budget = self.budget.as_ref().is_none_or(TokenBucket::take_token);
            let kind = if within_budget { ErrorFrameKind::Forbidden } else { ErrorFrameKind::TooManyRequests };
            self.reject_message(cx, transport, kind);
            return None;
        };
        let message_bytes = text.len();
        let limits = InFlightLimits { handlers: context.settings.in_flight, bytes: context.settings.inbound_bytes };
        if !self.in_flight.can_start(route.ordering, message_bytes, limits) {
            return Some(text);
        }
        let within_budget = self.budget.as_ref().is_none_or(TokenBucket::take_token)
            && self.user_budget.as_ref().is_none_or(|budget| budget.admits_message());
        if !within_budget || !context.throttle.admits_message(route) {
            context.metrics.throttled_messages.inc();
            self.reject_message(cx, transport, ErrorFrameKind::TooManyRequests);
            return None;
        }
        if route.model.as_ref().is_some_and(|model| !model.allows_body(&text)) {
            let message = self.event_stamper.next_message_id();
            transport.send_reply(cx, &self.connection, gateway::reply::bad_request_frame(self.connection.id, message));
            return None;
        }
        let (request, future) =
            invocation::invoke_message_handler(&context, &self.connection, &mut self.event_stamper, route, text);
        match self.in_flight.start_handler(cx, route, message_bytes, request, future) {
            HandlerStart::Finished(finished) => self.send_outcome(cx, transport, finished),
            HandlerStart::Running => {}
        }
        None
    }

    /// Replies with an error frame to a message that is not handled.
    fn reject_message(&mut self, cx: &mut Context<'_>, transport: &mut Transport, kind: ErrorFrameKind) {
        let (request, _) = self.event_stamper.next_request(self.context.integration.clock.now());
        transport.send_reply(cx, &self.connection, gateway::reply::error_frame(kind, self.connection.id, request));
    }

    /// Sends the replies of finished handlers. Returns `true` if there was at least one.
    fn complete_finished(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> bool {
        let mut any_finished = false;
        while let Poll::Ready(finished) = self.in_flight.poll(cx, &self.context) {
            self.send_outcome(cx, transport, finished);
            any_finished = true;
        }
        any_finished
    }

    fn send_outcome(&self, cx: &mut Context<'_>, transport: &mut Transport, finished: FinishedHandler) {
        let frame = match finished.outcome {
            MessageOutcome::NoFrame => return,
            MessageOutcome::Frame(text) => text,
            MessageOutcome::ErrorFrame(kind) => {
                self.context.metrics.failed_messages.inc();
                gateway::reply::error_frame(kind, self.connection.id, finished.request_id)
            }
        };
        transport.send_reply(cx, &self.connection, frame);
    }
}
