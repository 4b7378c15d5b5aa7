//! State of one sandbox in the pool: its initialization and its running invocations.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::SandboxAction;
use crate::invocation::{DispatchedEvent, InvocationEvent, InvocationResult, InvokeError, PendingInvocation};

/// Time that a process has to exit after it has reported an initialization error.
const INIT_ERROR_EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Id of a sandbox; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SandboxId(pub(super) u64);

/// Error of a runtime's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuntimeCallError {
    /// The sandbox has no such request (RAPID: `InvalidRequestID`).
    UnknownRequest,
    /// The sandbox has no request, or the request has a response already (RAPID: `InvalidStateTransition`).
    InvalidState,
    /// The request has timed out (RAPID, concurrent variant: `InvokeTimeout`).
    TimedOut,
}

pub(super) struct Sandbox {
    pub ready: bool,
    /// Scheduled start, or beginning of the idle time.
    pub since: Instant,
    pub wake: Arc<Notify>,
    /// Time of the supervisor's next check.
    pub next_check_at: Instant,
    /// Whether this is the second initialization for an invocation, which the invocation's timeout limits.
    pub repeats_init: bool,
    init_deadline: Instant,
    init_error: Option<InvokeError>,
    invocations: Vec<RunningInvocation>,
    answered_request_id: Option<Arc<str>>,
}

/// A running request; without `reply` when it has timed out and the runtime has not responded yet.
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
            repeats_init: false,
            init_deadline,
            init_error: None,
            invocations: Vec::new(),
            answered_request_id: None,
        }
    }

    pub fn begin_invocation(&mut self, invocation: PendingInvocation, deadline: Instant) -> DispatchedEvent {
        let PendingInvocation { event, reply, deadline: _ } = invocation;
        self.invocations.push(RunningInvocation { event: event.clone(), deadline, reply: Some(reply) });
        if deadline < self.next_check_at {
            self.next_check_at = deadline;
            self.wake.notify_one();
        }
        DispatchedEvent { event, deadline }
    }

    pub fn reclaim_invocation(&mut self, request_id: &str) -> Option<PendingInvocation> {
        let invocation = self.remove_invocation(request_id)?;
        let (event, deadline) = (invocation.event, None);
        invocation.reply.map(|reply| PendingInvocation { event, reply, deadline })
    }

    fn remove_invocation(&mut self, request_id: &str) -> Option<RunningInvocation> {
        let index = self.invocations.iter().position(|running| *running.event.request_id == *request_id)?;
        Some(self.invocations.swap_remove(index))
    }

    /// Returns the oldest running event.
    pub fn current_event(&self) -> Option<DispatchedEvent> {
        let running = self.invocations.first()?;
        Some(DispatchedEvent { event: running.event.clone(), deadline: running.deadline })
    }

    /// Returns the running request or, if there is none, the last one: its output may be read after its response.
    pub fn current_request_id(&self) -> Option<Arc<str>> {
        let running = self.invocations.first().map(|running| running.event.request_id.clone());
        running.or_else(|| self.answered_request_id.clone())
    }

    pub fn in_flight(&self) -> usize {
        self.invocations.len()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.invocations.iter().filter(|running| running.reply.is_some()).map(|running| running.deadline).min()
    }

    pub fn check_request(&mut self, request_id: &str, nonce: Option<&str>) -> Result<(), RuntimeCallError> {
        let Some(running) = self.invocations.iter().find(|running| *running.event.request_id == *request_id) else {
            let answered = self.answered_request_id.as_deref() == Some(request_id);
            let idle = self.invocations.is_empty() && self.answered_request_id.is_none();
            return Err(if answered || idle {
                RuntimeCallError::InvalidState
            } else {
                RuntimeCallError::UnknownRequest
            });
        };
        if nonce.is_some_and(|nonce| *nonce != *running.event.nonce) {
            return Err(RuntimeCallError::UnknownRequest);
        }
        if running.reply.is_none() {
            // The runtime gets the timeout error and can take the next event.
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
        let invocation = self.remove_invocation(request_id).ok_or(RuntimeCallError::InvalidState)?;
        self.answered_request_id = Some(invocation.event.request_id);
        self.since = now;
        // `send` fails when the caller is gone.
        invocation.reply.map(|reply| reply.send(outcome)).map_or(Err(RuntimeCallError::TimedOut), |_| Ok(()))
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

    /// Fails the invocations whose deadline has passed; returns whether all running ones have timed out.
    pub fn expire_invocations(&mut self, now: Instant) -> bool {
        for running in self.invocations.iter_mut().filter(|running| running.deadline <= now) {
            if let Some(reply) = running.reply.take() {
                let _ = reply.send(Err(InvokeError::TimedOut));
            }
        }
        !self.invocations.is_empty() && self.invocations.iter().all(|running| running.reply.is_none())
    }

    /// Returns whether the runtime has reported an initialization error.
    pub fn has_init_error(&self) -> bool {
        self.init_error.is_some()
    }

    /// Fails all running invocations. Returns the initialization error that the runtime reported, if any.
    pub fn fail_invocations(self, failure: &InvokeError) -> Option<InvokeError> {
        for running in self.invocations {
            if let Some(reply) = running.reply {
                let _ = reply.send(Err(failure.clone()));
            }
        }
        self.init_error
    }
}
