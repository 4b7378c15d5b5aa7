//! Running handlers of one connection.
//!
//! Handlers are polled within the session task, so that a handler that completes at its first poll costs neither a task
//! nor a timer. A handler that exceeds the integration timeout, or outlives the connection, continues in a separate
//! task, as API Gateway does not stop a Lambda function either.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use gateway::event::MessageEvent;
use gateway::id::{EventIds, GatewayId};
use gateway::reply::{IntegrationError, MessageOutcome, message_outcome};
use gateway::route::{Route, RouteOrdering, RouteResponse};
use gateway::time::{ClfCache, EventTime};
use handlers::ports::Timestamp;
use tokio::time::{Instant, Sleep};

use super::SessionContext;
use crate::connection::Connection;
use crate::functions::IntegrationResult;

/// Future of a handler invocation.
pub type HandlerFuture = BoxFuture<'static, IntegrationResult>;

/// A handler that completed or timed out.
pub struct FinishedHandler {
    /// Request id of the event, for an error frame.
    pub request_id: GatewayId,
    /// Frame to send to the client, if any.
    pub outcome: MessageOutcome,
}

/// Result of the first poll of a handler.
pub enum HandlerStart {
    /// The handler completed.
    Finished(FinishedHandler),
    /// The handler is pending.
    Running,
}

/// The running handlers of one connection.
#[derive(Default)]
pub struct InFlight {
    ordered: Option<Box<RunningHandler>>,
    concurrent: Option<Box<FuturesUnordered<RunningHandler>>>,
    /// Total size of the messages of `concurrent`.
    concurrent_bytes: usize,
}

/// Limits of the handlers of one connection that run concurrently.
#[derive(Debug, Clone, Copy)]
pub struct InFlightLimits {
    /// Maximum number of handlers.
    pub handlers: usize,
    /// Maximum total size of their messages in bytes. A larger message runs alone.
    pub bytes: usize,
}

/// A pending handler and its timeout.
struct RunningHandler {
    future: Option<HandlerFuture>,
    timeout: Pin<Box<Sleep>>,
    request_id: GatewayId,
    response: RouteResponse,
    started_at: Instant,
    message_bytes: usize,
}

/// Result of a handler, or its still running future after a timeout.
struct HandlerOutcome {
    result: Result<IntegrationResult, HandlerFuture>,
    request_id: GatewayId,
    response: RouteResponse,
    started_at: Instant,
    message_bytes: usize,
}

/// Generates the ids and formatted times of a connection's events.
#[derive(Clone)]
pub struct EventStamper {
    ids: EventIds,
    times: ClfCache,
}

impl EventStamper {
    /// Creates the stamper of the connection that `ids` belongs to.
    pub fn new(ids: EventIds) -> Self {
        Self { ids, times: ClfCache::default() }
    }

    /// Returns a new request id and the time of the event.
    pub fn next_request(&mut self, now: Timestamp) -> (GatewayId, EventTime) {
        (self.ids.next_request_id(now.0), self.times.event_time(now.0))
    }

    /// Returns a new message id.
    pub fn next_message_id(&mut self) -> GatewayId {
        self.ids.next_message_id()
    }
}

/// Invokes the handler of a message. Returns the request id and the handler's future.
pub fn invoke_message_handler(
    context: &SessionContext,
    connection: &Connection,
    event_stamper: &mut EventStamper,
    route: &Route,
    body: String,
) -> (GatewayId, HandlerFuture) {
    let now = context.integration.clock.now();
    let (request_id, time) = event_stamper.next_request(now);
    let event = MessageEvent {
        facts: &connection.facts,
        route_key: &route.key,
        message_id: event_stamper.next_message_id(),
        request_id,
        time,
        body,
    };
    (request_id, context.integration.functions.invoke_message(event))
}

impl InFlight {
    /// Returns whether the handler of a message of this size may start on a route with this ordering. `limits` apply to
    /// concurrent routes.
    pub fn can_start(&self, ordering: RouteOrdering, message_bytes: usize, limits: InFlightLimits) -> bool {
        match ordering {
            RouteOrdering::Connection => self.ordered.is_none(),
            RouteOrdering::Concurrent => self.concurrent.as_ref().is_none_or(|running| {
                let fits = self.concurrent_bytes + message_bytes <= limits.bytes;
                running.is_empty() || (fits && running.len() < limits.handlers)
            }),
        }
    }

    /// Returns the total size of the messages whose handlers run, in bytes.
    pub fn message_bytes(&self) -> usize {
        self.concurrent_bytes + self.ordered.as_ref().map_or(0, |running| running.message_bytes)
    }

    /// Polls a new handler once and keeps it if it is pending.
    pub fn start_handler(
        &mut self,
        cx: &mut Context<'_>,
        route: &Route,
        message_bytes: usize,
        request_id: GatewayId,
        mut call: HandlerFuture,
    ) -> HandlerStart {
        if let Poll::Ready(result) = call.as_mut().poll(cx) {
            return HandlerStart::Finished(FinishedHandler {
                request_id,
                outcome: message_outcome(result, route.response),
            });
        }
        let timeout = Box::pin(tokio::time::sleep(route.timeout));
        let running = RunningHandler {
            future: Some(call),
            timeout,
            request_id,
            response: route.response,
            started_at: Instant::now(),
            message_bytes,
        };
        match route.ordering {
            RouteOrdering::Connection => self.ordered = Some(Box::new(running)),
            RouteOrdering::Concurrent => {
                self.concurrent_bytes += message_bytes;
                self.concurrent.get_or_insert_default().push(running);
            }
        }
        HandlerStart::Running
    }

    /// Polls the running handlers and returns the next one that finished.
    pub fn poll(&mut self, cx: &mut Context<'_>, context: &SessionContext) -> Poll<FinishedHandler> {
        if let Some(running) = &mut self.ordered
            && let Poll::Ready(done) = Pin::new(running.as_mut()).poll(cx)
        {
            self.ordered = None;
            return Poll::Ready(done.into_finished(context));
        }
        if let Some(running) = &mut self.concurrent {
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => {
                    self.concurrent_bytes -= done.message_bytes;
                    return Poll::Ready(done.into_finished(context));
                }
                Poll::Ready(None) => self.concurrent = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Runs all handlers to completion and discards their replies.
    pub async fn drain_handlers(mut self) {
        if let Some(call) = self.ordered.take().and_then(|mut running| running.future.take()) {
            let _ = call.await;
        }
        if let Some(mut running) = self.concurrent.take() {
            while let Some(done) = running.next().await {
                if let Err(call) = done.result {
                    let _ = call.await;
                }
            }
        }
    }
}

impl HandlerOutcome {
    fn into_finished(self, context: &SessionContext) -> FinishedHandler {
        context.metrics.handler_duration_seconds.observe(self.started_at.elapsed().as_secs_f64());
        let outcome = match self.result {
            Ok(result) => message_outcome(result, self.response),
            Err(call) => {
                drop(context.lifecycle.tasks.spawn(call));
                message_outcome(Err(IntegrationError::TimedOut), self.response)
            }
        };
        FinishedHandler { request_id: self.request_id, outcome }
    }
}

impl Future for RunningHandler {
    type Output = HandlerOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerOutcome> {
        let Some(call) = &mut self.future else { return Poll::Pending };
        let result = match call.as_mut().poll(cx) {
            Poll::Ready(result) => Ok(result),
            Poll::Pending if self.timeout.as_mut().poll(cx).is_ready() => match self.future.take() {
                Some(call) => Err(call),
                None => return Poll::Pending,
            },
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(HandlerOutcome {
            result,
            request_id: self.request_id,
            response: self.response,
            started_at: self.started_at,
            message_bytes: self.message_bytes,
        })
    }
}
