//! One sandbox as the pool sees it: whether it has started, and what it works on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::SandboxAction;
use crate::invocation::{DispatchedEvent, InvocationEvent, InvocationResult, InvokeError, PendingInvocation};

/// How long a process that has reported a failed start may take to end.
const INIT_ERROR_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A sandbox's number, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SandboxId(pub(super) u64);

/// Why a runtime's answer is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeCallError {
    /// It has no such request (RAPID: `InvalidRequestID`).
    UnknownRequest,
    /// It has none at all, or has answered this one (RAPID: `InvalidStateTransition`).
    InvalidState,
    /// The request has timed out (RAPID, concurrent variant: `InvokeTimeout`).
    TimedOut,
}

pub(super) struct Sandbox {
    pub ready: bool,
    /// Since when it starts or is idle.
    pub since: Instant,
    pub wake: Arc<Notify>,
    /// When its watch looks next by itself.
    pub next_check_at: Instant,
    init_deadline: Instant,
    init_error: Option<InvokeError>,
    invocations: Vec<RunningInvocation>,
    answered_request_id: Option<Arc<str>>,
}

/// A request under way; without a reply when it has timed out and the runtime is still at it.
struct RunningInvocation {
    event: InvocationEvent,
    deadline: Instant,
    reply: Option<oneshot::Sender<InvocationResult>>,
}

impl Sandbox {
    pub fn new(since: Instant, init_deadline: Instant) -> Self {
        Self {
            ready: false,
            since,
            wake: Arc::default(),
            next_check_at: init_deadline,
            init_deadline,
            init_error: None,
            invocations: Vec::new(),
            answered_request_id: None,
        }
    }

    pub fn begin_invocation(&mut self, invocation: PendingInvocation, deadline: Instant) -> DispatchedEvent {
        let PendingInvocation { event, reply } = invocation;
        self.invocations.push(RunningInvocation { event: event.clone(), deadline, reply: Some(reply) });
        if deadline < self.next_check_at {
            self.next_check_at = deadline;
            self.wake.notify_one();
        }
        DispatchedEvent { event, deadline }
    }

    pub fn reclaim_invocation(&mut self, request_id: &str) -> Option<PendingInvocation> {
        let work = self.remove_invocation(request_id)?;
        work.reply.map(|reply| PendingInvocation { event: work.event, reply })
    }

    fn remove_invocation(&mut self, request_id: &str) -> Option<RunningInvocation> {
        let index = self.invocations.iter().position(|work| *work.event.request_id == *request_id)?;
        Some(self.invocations.swap_remove(index))
    }

    /// What it works on, where that is one thing.
    pub fn current_event(&self) -> Option<DispatchedEvent> {
        self.invocations.first().map(|work| DispatchedEvent { event: work.event.clone(), deadline: work.deadline })
    }

    /// The request that it works on or, between two of them, has answered: what was written before an answer may be read behind it.
    pub fn current_request_id(&self) -> Option<Arc<str>> {
        self.invocations.first().map(|work| work.event.request_id.clone()).or_else(|| self.answered_request_id.clone())
    }

    pub fn in_flight(&self) -> usize {
        self.invocations.len()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.invocations.iter().filter(|work| work.reply.is_some()).map(|work| work.deadline).min()
    }

    pub fn check_request(&mut self, request_id: &str, nonce: Option<&str>) -> Result<(), RuntimeCallError> {
        let Some(work) = self.invocations.iter().find(|work| *work.event.request_id == *request_id) else {
            let answered = self.answered_request_id.as_deref() == Some(request_id);
            let idle = self.invocations.is_empty() && self.answered_request_id.is_none();
            return Err(if answered || idle {
                RuntimeCallError::InvalidState
            } else {
                RuntimeCallError::UnknownRequest
            });
        };
        if nonce.is_some_and(|nonce| *nonce != *work.event.nonce) {
            return Err(RuntimeCallError::UnknownRequest);
        }
        if work.reply.is_none() {
            // Whoever has learnt that it is late is free again.
            self.remove_invocation(request_id);
            return Err(RuntimeCallError::TimedOut);
        }
        Ok(())
    }

    pub fn finish_request(
        &mut self,
        now: Instant,
        request_id: &str,
        outcome: InvocationResult,
    ) -> Result<(), RuntimeCallError> {
        let work = self.remove_invocation(request_id).ok_or(RuntimeCallError::InvalidState)?;
        self.answered_request_id = Some(work.event.request_id);
        self.since = now;
        // A caller that is gone needs no answer.
        work.reply.map(|reply| reply.send(outcome)).map_or(Err(RuntimeCallError::TimedOut), |_| Ok(()))
    }

    pub fn record_init_error(&mut self, now: Instant, error: InvokeError) {
        self.init_error = Some(error);
        self.init_deadline = self.init_deadline.min(now + INIT_ERROR_EXIT_TIMEOUT);
        self.wake.notify_one();
    }

    pub fn check_init(&mut self, now: Instant) -> SandboxAction {
        if self.init_deadline <= now {
            return SandboxAction::Kill;
        }
        self.next_check_at = self.init_deadline;
        SandboxAction::CheckAt(self.init_deadline)
    }

    /// Answers the callers whose time is over, and says whether all that it works on has timed out.
    pub fn expire_invocations(&mut self, now: Instant) -> bool {
        for work in self.invocations.iter_mut().filter(|work| work.deadline <= now) {
            if let Some(reply) = work.reply.take() {
                let _ = reply.send(Err(InvokeError::TimedOut));
            }
        }
        !self.invocations.is_empty() && self.invocations.iter().all(|work| work.reply.is_none())
    }

    /// Answers everyone who waits for it. Gives back what it said of its start, if that failed.
    pub fn fail_invocations(self, failure: impl Fn(Option<&str>) -> InvokeError) -> Option<InvokeError> {
        for work in self.invocations {
            if let Some(reply) = work.reply {
                let _ = reply.send(Err(failure(Some(&work.event.request_id))));
            }
        }
        self.init_error
    }
}
