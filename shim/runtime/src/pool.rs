//! Who runs what: the callers that wait, the sandboxes that poll, and when there must be another one.
//!
//! Pure state, without clock, task or process: every method takes the time and says what is to be done. Invariant: an
//! invocation is in exactly one place, the queue or one sandbox, until its caller is answered. A free sandbox that was
//! used last is used first, so that those beyond the need fall idle and can go.

mod backoff;
mod sandbox;

use std::collections::{HashMap, VecDeque};
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::backoff::StartBackoff;
use self::sandbox::Sandbox;
pub(crate) use self::sandbox::{RuntimeCallError, SandboxId};
use crate::definition::FunctionLimits;
use crate::invocation::{DispatchedEvent, InvocationResult, InvokeError, PendingInvocation};

/// The sandboxes and the queue of one function.
pub(crate) struct SandboxPool {
    limits: FunctionLimits,
    queue: VecDeque<PendingInvocation>,
    free_polls: Vec<PendingPoll>,
    sandboxes: HashMap<SandboxId, Sandbox>,
    started_count: u64,
    backoff: StartBackoff,
    stopped: bool,
}

/// A runtime that waits for an event.
struct PendingPoll {
    id: SandboxId,
    deliver: oneshot::Sender<DispatchedEvent>,
}

/// What a runtime's `/next` gets.
pub(crate) enum PollOutcome {
    /// An event at once.
    Deliver(DispatchedEvent),
    /// An event as soon as there is one. The channel closes when a newer poll takes this one's place.
    Wait(oneshot::Receiver<DispatchedEvent>),
    /// Nothing: the sandbox is gone or has as many as it may have.
    Reject,
}

/// What is to be done about a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SandboxAction {
    /// Look again then, or when woken.
    CheckAt(Instant),
    /// It has had its time: kill it at once.
    Kill,
    /// It is not needed any more: stop it gently.
    Retire,
}

impl SandboxPool {
    pub fn new(limits: FunctionLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            free_polls: Vec::new(),
            sandboxes: HashMap::new(),
            started_count: 0,
            backoff: StartBackoff::default(),
            stopped: false,
        }
    }

    /// Takes an invocation in, and says which sandboxes are to be started for it.
    pub fn submit(&mut self, now: Instant, invocation: PendingInvocation) -> Result<Vec<SandboxId>, InvokeError> {
        if self.stopped {
            return Err(InvokeError::Stopped);
        }
        let Some(invocation) = self.dispatch_to_free(now, invocation) else { return Ok(Vec::new()) };
        if self.sandboxes.values().all(|sandbox| sandbox.since > now)
            && let Some(failure) = self.backoff.active_failure(now)
        {
            return Err(failure);
        }
        self.queue.retain(|waiting| !waiting.reply.is_closed());
        if self.queue.len() >= self.queue_capacity() {
            return Err(InvokeError::Throttled);
        }
        self.queue.push_back(invocation);
        Ok(self.schedule_starts(now))
    }

    /// How many may wait: those that a starting or still possible sandbox will take, and the configured queue.
    fn queue_capacity(&self) -> usize {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let coming = self.limits.max_processes.saturating_sub(ready);
        self.limits.queue_capacity.saturating_add(coming.saturating_mul(self.limits.concurrency))
    }

    /// The sandboxes that have to be started now.
    pub fn schedule_starts(&mut self, now: Instant) -> Vec<SandboxId> {
        let mut starting = self.sandboxes.values().filter(|sandbox| !sandbox.ready).count();
        let mut due = Vec::new();
        while !self.stopped && self.sandboxes.len() < self.limits.max_processes {
            let wanted = starting * self.limits.concurrency < self.queue.len() && !self.backoff.is_active(now);
            if !wanted && self.sandboxes.len() >= self.limits.min_processes {
                break;
            }
            self.started_count += 1;
            let id = SandboxId(self.started_count);
            let launch = self.backoff.retry_at().unwrap_or(now).max(now);
            self.sandboxes.insert(id, Sandbox::new(launch, launch + self.limits.init_timeout));
            due.push(id);
            starting += 1;
        }
        due
    }

    /// When a sandbox is to be started, and what wakes its watch; `None` when it is gone.
    pub fn scheduled_start(&self, id: SandboxId) -> Option<(Instant, Arc<Notify>)> {
        self.sandboxes.get(&id).map(|sandbox| (sandbox.since, sandbox.wake.clone()))
    }

    /// Gives the invocation to a free sandbox; gives it back when there is none.
    fn dispatch_to_free(&mut self, now: Instant, mut invocation: PendingInvocation) -> Option<PendingInvocation> {
        while let Some(poll) = self.free_polls.pop() {
            let Some(sandbox) = self.sandboxes.get_mut(&poll.id) else { continue };
            let deadline = now + self.limits.timeout;
            let delivery = sandbox.begin_invocation(invocation, deadline);
            let Err(delivery) = poll.deliver.send(delivery) else { return None };
            // This poll has been given up: the next one, if there is one.
            invocation = sandbox.reclaim_invocation(&delivery.event.request_id)?;
        }
        Some(invocation)
    }

    /// A runtime asks for its next event.
    pub fn poll(&mut self, now: Instant, id: SandboxId) -> PollOutcome {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return PollOutcome::Reject };
        if !sandbox.ready {
            sandbox.ready = true;
            self.backoff.reset();
        }
        if self.limits.concurrency == 1
            && let Some(delivery) = sandbox.current_event()
        {
            return PollOutcome::Deliver(delivery);
        }
        if sandbox.in_flight() >= self.limits.concurrency {
            return PollOutcome::Reject;
        }
        while let Some(invocation) = self.queue.pop_front() {
            if !invocation.reply.is_closed() {
                return PollOutcome::Deliver(sandbox.begin_invocation(invocation, now + self.limits.timeout));
            }
        }
        let most = self.limits.concurrency - sandbox.in_flight();
        sandbox.since = now;
        self.park_poll(id, most)
    }

    /// Keeps a poll. The newest ones count: an older one is of a connection that the runtime has given up.
    fn park_poll(&mut self, id: SandboxId, most: usize) -> PollOutcome {
        while self.free_polls.iter().filter(|poll| poll.id == id).count() >= most {
            let Some(oldest) = self.free_polls.iter().position(|poll| poll.id == id) else { break };
            self.free_polls.remove(oldest);
        }
        let (deliver, event) = oneshot::channel();
        self.free_polls.push(PendingPoll { id, deliver });
        PollOutcome::Wait(event)
    }

    /// Whether a runtime may answer this request now. `nonce` is what it echoes, if it echoes one.
    pub fn check_request(
        &mut self,
        id: SandboxId,
        request_id: &str,
        nonce: Option<&str>,
    ) -> Result<(), RuntimeCallError> {
        let sandbox = self.sandboxes.get_mut(&id).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.check_request(request_id, nonce)
    }

    /// Answers the caller of a request.
    pub fn finish_request(
        &mut self,
        now: Instant,
        id: SandboxId,
        request_id: &str,
        outcome: InvocationResult,
    ) -> Result<(), RuntimeCallError> {
        let sandbox = self.sandboxes.get_mut(&id).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.finish_request(now, request_id, outcome)
    }

    /// A runtime says that it cannot start. It gets a moment to end by itself.
    pub fn report_init_error(
        &mut self,
        now: Instant,
        id: SandboxId,
        error: InvokeError,
    ) -> Result<(), RuntimeCallError> {
        let sandbox =
            self.sandboxes.get_mut(&id).filter(|sandbox| !sandbox.ready).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.record_init_error(now, error);
        Ok(())
    }

    /// The id of the request that a sandbox's log lines belong to, where it works on one at a time.
    pub fn current_request_id(&self, id: SandboxId) -> Option<Arc<str>> {
        let sandbox = self.sandboxes.get(&id)?;
        (self.limits.concurrency == 1).then(|| sandbox.current_request_id())?
    }

    /// Looks whether a sandbox has run out of time. One that is to be killed or retired is gone already: its callers are
    /// answered, and nothing more is handed to it.
    pub fn check_sandbox(&mut self, now: Instant, id: SandboxId) -> SandboxAction {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return SandboxAction::Kill };
        if !sandbox.ready {
            return sandbox.check_init(now);
        }
        let hangs = sandbox.expire_invocations(now) && (sandbox.in_flight() >= self.limits.concurrency);
        if hangs {
            self.remove_sandbox(id);
            return SandboxAction::Kill;
        }
        let idle_until = sandbox.since + self.limits.idle_timeout;
        let mut look_again = sandbox.next_deadline();
        if sandbox.in_flight() == 0 && ready > self.limits.min_processes {
            if idle_until <= now {
                self.remove_sandbox(id);
                return SandboxAction::Retire;
            }
            look_again = Some(idle_until);
        }
        let look_again = look_again.unwrap_or(now + self.limits.idle_timeout);
        sandbox.next_check_at = look_again;
        SandboxAction::CheckAt(look_again)
    }

    /// A sandbox's process has ended. Says which sandboxes are to be started in its place.
    pub fn remove_exited(&mut self, now: Instant, id: SandboxId, end: SandboxExit) -> Vec<SandboxId> {
        let Some(sandbox) = self.remove_sandbox(id) else { return self.schedule_starts(now) };
        let (ready, status) = (sandbox.ready, end.status);
        let init_error = sandbox.fail_invocations(|request_id| InvokeError::process_exited(request_id, status));
        if !ready && !self.stopped {
            let failure = init_error.or(end.failure).unwrap_or_else(|| InvokeError::process_exited(None, status));
            self.backoff.record_failure(now, failure.clone());
            self.fail_queued(&failure);
        }
        self.schedule_starts(now)
    }

    /// A start that failed costs the invocation that has waited longest; the last hope, all of them.
    fn fail_queued(&mut self, failure: &InvokeError) {
        let failed = if self.sandboxes.is_empty() { self.queue.len() } else { self.queue.len().min(1) };
        for invocation in self.queue.drain(..failed) {
            // A caller that is gone needs no answer.
            let _ = invocation.reply.send(Err(failure.clone()));
        }
    }

    fn remove_sandbox(&mut self, id: SandboxId) -> Option<Sandbox> {
        self.free_polls.retain(|poll| poll.id != id);
        self.sandboxes.remove(&id)
    }

    /// Takes nothing more in.
    pub fn stop(&mut self) {
        self.stopped = true;
        for invocation in self.queue.drain(..) {
            let _ = invocation.reply.send(Err(InvokeError::Stopped));
        }
    }

    /// How many processes there are, those included that are starting.
    pub fn process_count(&self) -> usize {
        self.sandboxes.len()
    }
}

/// How a sandbox ended.
#[derive(Debug, Default)]
pub(crate) struct SandboxExit {
    /// The exit status of its process, if there was one.
    pub status: Option<ExitStatus>,
    /// Why there was none, or why it was killed while it was starting.
    pub failure: Option<InvokeError>,
}

#[cfg(test)]
mod tests;
