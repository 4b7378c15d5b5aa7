//! One sandbox as the pool sees it: whether it has started, and what it works on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::Watch;
use crate::invocation::{Delivery, Event, Invocation, InvokeError, Outcome};

/// How long a process that has reported a failed start may take to end.
const INIT_FAREWELL: Duration = Duration::from_secs(1);

/// A sandbox's number, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SandboxId(pub(super) u64);

/// Why a runtime's answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has no such request (RAPID: `InvalidRequestID`).
    Request,
    /// It has none at all, or has answered this one (RAPID: `InvalidStateTransition`).
    State,
    /// The request has timed out (RAPID, concurrent variant: `InvokeTimeout`).
    Late,
}

pub(super) struct Sandbox {
    pub ready: bool,
    /// Since when it starts or is idle.
    pub since: Instant,
    pub wake: Arc<Notify>,
    /// When its watch looks next by itself.
    pub watched_until: Instant,
    init_deadline: Instant,
    init_error: Option<InvokeError>,
    work: Vec<Work>,
    answered: Option<Arc<str>>,
}

/// A request under way; without a reply when it has timed out and the runtime is still at it.
struct Work {
    event: Event,
    deadline: Instant,
    reply: Option<oneshot::Sender<Outcome>>,
}

impl Sandbox {
    pub fn new(since: Instant, init_deadline: Instant) -> Self {
        Self {
            ready: false,
            since,
            wake: Arc::default(),
            watched_until: init_deadline,
            init_deadline,
            init_error: None,
            work: Vec::new(),
            answered: None,
        }
    }

    pub fn begin(&mut self, invocation: Invocation, deadline: Instant) -> Delivery {
        let Invocation { event, reply } = invocation;
        self.work.push(Work { event: event.clone(), deadline, reply: Some(reply) });
        if deadline < self.watched_until {
            self.watched_until = deadline;
            self.wake.notify_one();
        }
        Delivery { event, deadline }
    }

    pub fn take_back(&mut self, request_id: &str) -> Option<Invocation> {
        let work = self.take(request_id)?;
        work.reply.map(|reply| Invocation { event: work.event, reply })
    }

    fn take(&mut self, request_id: &str) -> Option<Work> {
        let index = self.work.iter().position(|work| *work.event.request_id == *request_id)?;
        Some(self.work.swap_remove(index))
    }

    /// What it works on, where that is one thing.
    pub fn current(&self) -> Option<Delivery> {
        self.work.first().map(|work| Delivery { event: work.event.clone(), deadline: work.deadline })
    }

    /// The request that it works on or, between two of them, has answered: what was written before an answer may be read behind it.
    pub fn request(&self) -> Option<Arc<str>> {
        self.work.first().map(|work| work.event.request_id.clone()).or_else(|| self.answered.clone())
    }

    pub fn in_flight(&self) -> usize {
        self.work.len()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.work.iter().filter(|work| work.reply.is_some()).map(|work| work.deadline).min()
    }

    pub fn check(&mut self, request_id: &str, nonce: Option<&str>) -> Result<(), Refusal> {
        let Some(work) = self.work.iter().find(|work| *work.event.request_id == *request_id) else {
            let answered = self.answered.as_deref() == Some(request_id);
            let idle = self.work.is_empty() && self.answered.is_none();
            return Err(if answered || idle { Refusal::State } else { Refusal::Request });
        };
        if nonce.is_some_and(|nonce| *nonce != *work.event.nonce) {
            return Err(Refusal::Request);
        }
        if work.reply.is_none() {
            // Whoever has learnt that it is late is free again.
            self.take(request_id);
            return Err(Refusal::Late);
        }
        Ok(())
    }

    pub fn finish(&mut self, now: Instant, request_id: &str, outcome: Outcome) -> Result<(), Refusal> {
        let work = self.take(request_id).ok_or(Refusal::State)?;
        self.answered = Some(work.event.request_id);
        self.since = now;
        // A caller that is gone needs no answer.
        work.reply.map(|reply| reply.send(outcome)).map_or(Err(Refusal::Late), |_| Ok(()))
    }

    pub fn fail_init(&mut self, now: Instant, error: InvokeError) {
        self.init_error = Some(error);
        self.init_deadline = self.init_deadline.min(now + INIT_FAREWELL);
        self.wake.notify_one();
    }

    pub fn watch_init(&mut self, now: Instant) -> Watch {
        if self.init_deadline <= now {
            return Watch::Kill;
        }
        self.watched_until = self.init_deadline;
        Watch::Until(self.init_deadline)
    }

    /// Answers the callers whose time is over, and says whether all that it works on has timed out.
    pub fn expire(&mut self, now: Instant) -> bool {
        for work in self.work.iter_mut().filter(|work| work.deadline <= now) {
            if let Some(reply) = work.reply.take() {
                let _ = reply.send(Err(InvokeError::TimedOut));
            }
        }
        !self.work.is_empty() && self.work.iter().all(|work| work.reply.is_none())
    }

    /// Answers everyone who waits for it. Gives back what it said of its start, if that failed.
    pub fn end(self, failure: impl Fn(Option<&str>) -> InvokeError) -> Option<InvokeError> {
        for work in self.work {
            if let Some(reply) = work.reply {
                let _ = reply.send(Err(failure(Some(&work.event.request_id))));
            }
        }
        self.init_error
    }
}
