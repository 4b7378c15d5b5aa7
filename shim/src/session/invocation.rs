//! Handlers in flight for one connection.
//!
//! A handler is polled inside the session's task, so that one that answers at once costs no task and no timer. One that
//! outlives the integration timeout, or the connection, goes on as a task of its own: API Gateway does not stop a
//! function either.

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

/// A handler's future.
pub type HandlerFuture = BoxFuture<'static, IntegrationResult>;

/// A handler that is done, or given up.
pub struct FinishedHandler {
    /// The event's request id, for an error frame.
    pub request_id: GatewayId,
    /// What the client is to see.
    pub outcome: MessageOutcome,
}

/// What became of a handler's first poll.
pub enum HandlerStart {
    /// It answered at once.
    Finished(FinishedHandler),
    /// It waits for something.
    Running,
}

/// The handlers of one connection that have not answered yet.
#[derive(Default)]
pub struct InFlight {
    ordered: Option<Box<RunningHandler>>,
    concurrent: Option<Box<FuturesUnordered<RunningHandler>>>,
}

/// A handler that waits.
struct RunningHandler {
    future: Option<HandlerFuture>,
    timeout: Pin<Box<Sleep>>,
    request_id: GatewayId,
    response: RouteResponse,
    started_at: Instant,
}

/// A handler that answered or ran out of time; in the latter case it is still running.
struct HandlerOutcome {
    result: Result<IntegrationResult, HandlerFuture>,
    request_id: GatewayId,
    response: RouteResponse,
    started_at: Instant,
}

/// What tells one connection's events apart: their ids and times.
#[derive(Clone)]
pub struct EventStamper {
    ids: EventIds,
    times: ClfCache,
}

impl EventStamper {
    /// The stamps of the connection that `ids` belongs to.
    pub fn new(ids: EventIds) -> Self {
        Self { ids, times: ClfCache::default() }
    }

    /// A fresh request id and the event's time.
    pub fn next_request(&mut self, now: Timestamp) -> (GatewayId, EventTime) {
        (self.ids.next_request_id(now.0), self.times.event_time(now.0))
    }

    /// A fresh message id.
    pub fn next_message_id(&mut self, now: Timestamp) -> GatewayId {
        self.ids.next_message_id(now.0)
    }
}

/// Makes a message's event and calls its handler with it.
pub fn invoke_message_handler(
    context: &SessionContext,
    handle: &Connection,
    stamps: &mut EventStamper,
    route: &Route,
    body: String,
) -> (GatewayId, HandlerFuture) {
    let now = context.integration.clock.now();
    let (request_id, time) = stamps.next_request(now);
    let event = MessageEvent {
        facts: &handle.facts,
        route_key: &route.key,
        message_id: stamps.next_message_id(now),
        request_id,
        time,
        body,
    };
    (request_id, context.integration.functions.invoke_message(event))
}

impl InFlight {
    /// Whether another handler may start on a route of this order.
    pub fn can_start(&self, ordering: RouteOrdering, most: usize) -> bool {
        match ordering {
            RouteOrdering::Connection => self.ordered.is_none(),
            RouteOrdering::Concurrent => self.concurrent.as_ref().is_none_or(|running| running.len() < most),
        }
    }

    /// Polls a fresh handler once and keeps it if it waits.
    pub fn start_handler(
        &mut self,
        cx: &mut Context<'_>,
        context: &SessionContext,
        route: &Route,
        request: GatewayId,
        mut call: HandlerFuture,
    ) -> HandlerStart {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return HandlerStart::Finished(FinishedHandler {
                request_id: request,
                outcome: message_outcome(answer, route.response),
            });
        }
        let timeout = Box::pin(tokio::time::sleep(context.integration.api.quotas.integration_timeout));
        let running = RunningHandler {
            future: Some(call),
            timeout,
            request_id: request,
            response: route.response,
            started_at: Instant::now(),
        };
        match route.ordering {
            RouteOrdering::Connection => self.ordered = Some(Box::new(running)),
            RouteOrdering::Concurrent => self.concurrent.get_or_insert_default().push(running),
        }
        HandlerStart::Running
    }

    /// The next handler that is done.
    pub fn poll(&mut self, cx: &mut Context<'_>, context: &SessionContext) -> Poll<FinishedHandler> {
        if let Some(running) = &mut self.ordered
            && let Poll::Ready(done) = Pin::new(running.as_mut()).poll(cx)
        {
            self.ordered = None;
            return Poll::Ready(done.into_finished(context));
        }
        if let Some(running) = &mut self.concurrent {
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => return Poll::Ready(done.into_finished(context)),
                Poll::Ready(None) => self.concurrent = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Lets everything run on to its end without anyone to answer to.
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
            Ok(answer) => message_outcome(answer, self.response),
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
        let answer = match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending if self.timeout.as_mut().poll(cx).is_ready() => match self.future.take() {
                Some(call) => Err(call),
                None => return Poll::Pending,
            },
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(HandlerOutcome {
            result: answer,
            request_id: self.request_id,
            response: self.response,
            started_at: self.started_at,
        })
    }
}
