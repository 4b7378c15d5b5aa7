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
use gateway::reply::{IntegrationFailure, MessageOutcome, message_outcome};
use gateway::route::{Ordering, Route, RouteResponse};
use gateway::time::{ClfCache, EventTime};
use handlers::ports::Timestamp;
use tokio::time::{Instant, Sleep};

use super::SessionContext;
use crate::connection::Connection;
use crate::functions::Answer;

/// A handler's future.
pub type Call = BoxFuture<'static, Answer>;

/// A handler that is done, or given up.
pub struct Finished {
    /// The event's request id, for an error frame.
    pub request: GatewayId,
    /// What the client is to see.
    pub outcome: MessageOutcome,
}

/// What became of a handler's first poll.
pub enum Started {
    /// It answered at once.
    Finished(Finished),
    /// It waits for something.
    Running,
}

/// The handlers of one connection that have not answered yet.
#[derive(Default)]
pub struct InFlight {
    ordered: Option<Box<Running>>,
    concurrent: Option<Box<FuturesUnordered<Running>>>,
}

/// A handler that waits.
struct Running {
    call: Option<Call>,
    timeout: Pin<Box<Sleep>>,
    request: GatewayId,
    response: RouteResponse,
    since: Instant,
}

/// A handler that answered or ran out of time; in the latter case it is still running.
struct Done {
    answer: Result<Answer, Call>,
    request: GatewayId,
    response: RouteResponse,
    since: Instant,
}

/// What tells one connection's events apart: their ids and times.
#[derive(Clone)]
pub struct Stamps {
    ids: EventIds,
    times: ClfCache,
}

impl Stamps {
    /// The stamps of the connection that `ids` belongs to.
    pub fn new(ids: EventIds) -> Self {
        Self { ids, times: ClfCache::default() }
    }

    /// A fresh request id and the event's time.
    pub fn request(&mut self, now: Timestamp) -> (GatewayId, EventTime) {
        (self.ids.request(now.0), self.times.at(now.0))
    }

    /// A fresh message id.
    pub fn message(&mut self, now: Timestamp) -> GatewayId {
        self.ids.message(now.0)
    }
}

/// Makes a message's event and calls its handler with it.
pub fn message(
    context: &SessionContext,
    handle: &Connection,
    stamps: &mut Stamps,
    route: &Route,
    body: String,
) -> (GatewayId, Call) {
    let now = context.integration.clock.now();
    let (request_id, time) = stamps.request(now);
    let event = MessageEvent {
        facts: &handle.facts,
        route_key: &route.key,
        message_id: stamps.message(now),
        request_id,
        time,
        body,
    };
    (request_id, context.integration.functions.message(event))
}

impl InFlight {
    /// Whether another handler may start on a route of this order.
    pub fn has_room(&self, ordering: Ordering, most: usize) -> bool {
        match ordering {
            Ordering::Connection => self.ordered.is_none(),
            Ordering::Concurrent => self.concurrent.as_ref().is_none_or(|running| running.len() < most),
        }
    }

    /// Polls a fresh handler once and keeps it if it waits.
    pub fn start(
        &mut self,
        cx: &mut Context<'_>,
        context: &SessionContext,
        route: &Route,
        request: GatewayId,
        mut call: Call,
    ) -> Started {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Started::Finished(Finished { request, outcome: message_outcome(answer, route.response) });
        }
        let timeout = Box::pin(tokio::time::sleep(context.integration.api.quotas.integration_timeout));
        let running = Running { call: Some(call), timeout, request, response: route.response, since: Instant::now() };
        match route.ordering {
            Ordering::Connection => self.ordered = Some(Box::new(running)),
            Ordering::Concurrent => self.concurrent.get_or_insert_default().push(running),
        }
        Started::Running
    }

    /// The next handler that is done.
    pub fn poll(&mut self, cx: &mut Context<'_>, context: &SessionContext) -> Poll<Finished> {
        if let Some(running) = &mut self.ordered
            && let Poll::Ready(done) = Pin::new(running.as_mut()).poll(cx)
        {
            self.ordered = None;
            return Poll::Ready(done.finished(context));
        }
        if let Some(running) = &mut self.concurrent {
            match running.poll_next_unpin(cx) {
                Poll::Ready(Some(done)) => return Poll::Ready(done.finished(context)),
                Poll::Ready(None) => self.concurrent = None,
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Lets everything run on to its end without anyone to answer to.
    pub async fn run_out(mut self) {
        if let Some(call) = self.ordered.take().and_then(|mut running| running.call.take()) {
            let _ = call.await;
        }
        if let Some(mut running) = self.concurrent.take() {
            while let Some(done) = running.next().await {
                if let Err(call) = done.answer {
                    let _ = call.await;
                }
            }
        }
    }
}

impl Done {
    fn finished(self, context: &SessionContext) -> Finished {
        context.metrics.handler_seconds.observe(self.since.elapsed().as_secs_f64());
        let outcome = match self.answer {
            Ok(answer) => message_outcome(answer, self.response),
            Err(call) => {
                drop(context.lifecycle.tasks.spawn(call));
                message_outcome(Err(IntegrationFailure::TimedOut), self.response)
            }
        };
        Finished { request: self.request, outcome }
    }
}

impl Future for Running {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let answer = match call.as_mut().poll(cx) {
            Poll::Ready(answer) => Ok(answer),
            Poll::Pending if self.timeout.as_mut().poll(cx).is_ready() => match self.call.take() {
                Some(call) => Err(call),
                None => return Poll::Pending,
            },
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Done { answer, request: self.request, response: self.response, since: self.since })
    }
}
