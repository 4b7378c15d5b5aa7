//! Scheduler of invocations: the queue, the sandboxes and their polls, and the start of further sandboxes.
//!
//! This is pure state without clock, tasks or processes: methods take the time as an argument and return the actions to
//! take. An invocation is in exactly one place, the queue or one sandbox, until its caller has the result. The most
//! recently used free sandbox is used first, so that surplus ones become idle and are stopped.

mod backoff;
mod replacement;
mod sandbox;

use std::collections::{HashMap, VecDeque};
use std::process::ExitStatus;
use std::sync::Arc;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use self::backoff::StartBackoff;
use self::replacement::init_timeout_error;
use self::sandbox::Sandbox;
pub(crate) use self::sandbox::{RuntimeCallError, SandboxId};
use crate::definition::FunctionLimits;
use crate::invocation::{DispatchedEvent, InvocationResult, InvokeError, PendingInvocation};

/// Sandboxes and queue of one function.
pub(crate) struct SandboxPool {
    limits: FunctionLimits,
    queue: VecDeque<PendingInvocation>,
    free_polls: Vec<PendingPoll>,
    sandboxes: HashMap<SandboxId, Sandbox>,
    /// Sandboxes of an earlier definition: they finish their invocations and receive no others.
    draining: HashMap<SandboxId, Sandbox>,
    draining_polls: Vec<PendingPoll>,
    started_count: u64,
    backoff: StartBackoff,
    stopped: bool,
}

/// A `/next` request that waits for an event.
struct PendingPoll {
    id: SandboxId,
    deliver: oneshot::Sender<DispatchedEvent>,
}

/// Result of a runtime's `/next`.
pub(crate) enum PollOutcome {
    /// An event, immediately.
    Deliver(DispatchedEvent),
    /// An event, as soon as there is one. The channel closes when a newer poll replaces this one.
    Wait(oneshot::Receiver<DispatchedEvent>),
    /// The sandbox does not exist or has reached its concurrency.
    Reject,
}

/// Action that a check of a sandbox requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SandboxAction {
    /// Check again at this time or when woken.
    CheckAt(Instant),
    /// A timeout has passed: kill the process.
    Kill,
    /// The process is no longer needed: terminate it gracefully.
    Retire,
}

impl SandboxPool {
    pub fn new(limits: FunctionLimits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            free_polls: Vec::new(),
            sandboxes: HashMap::new(),
            draining: HashMap::new(),
            draining_polls: Vec::new(),
            started_count: 0,
            backoff: StartBackoff::default(),
            stopped: false,
        }
    }

    /// Dispatches or queues an invocation and returns the sandboxes to start for it.
    ///
    /// # Errors
    /// [`InvokeError::Stopped`], [`InvokeError::Throttled`], or the error of the last start during the backoff.
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
        self.queue.retain(|queued| !queued.reply.is_closed());
        if self.queue.len() >= self.queue_capacity() {
            return Err(InvokeError::Throttled);
        }
        self.queue.push_back(invocation);
        Ok(self.schedule_starts(now))
    }

    /// Returns the capacity of the queue: the configured one, and the concurrency of sandboxes that are starting or may
    /// be started.
    fn queue_capacity(&self) -> usize {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let not_ready = self.limits.max_processes.saturating_sub(ready);
        self.limits.queue_capacity.saturating_add(not_ready.saturating_mul(self.limits.concurrency))
    }

    /// Adds the sandboxes that the queue or `min_processes` requires, and returns them.
    pub fn schedule_starts(&mut self, now: Instant) -> Vec<SandboxId> {
        let mut starting = self.sandboxes.values().filter(|sandbox| !sandbox.ready).count();
        let mut to_start = Vec::new();
        while !self.stopped && self.sandboxes.len() < self.limits.max_processes {
            let needed = starting * self.limits.concurrency < self.queue.len() && !self.backoff.is_active(now);
            if !needed && self.sandboxes.len() >= self.limits.min_processes {
                break;
            }
            let start_at = self.backoff.retry_at().unwrap_or(now).max(now);
            to_start.push(self.add_sandbox(Sandbox::new(start_at, start_at + self.limits.init_timeout)));
            starting += 1;
        }
        to_start
    }

    fn add_sandbox(&mut self, sandbox: Sandbox) -> SandboxId {
        self.started_count += 1;
        let id = SandboxId(self.started_count);
        self.sandboxes.insert(id, sandbox);
        id
    }

    /// Returns the deadline of an invocation that is delivered now.
    fn deadline_of(&self, now: Instant, invocation: &PendingInvocation) -> Instant {
        let deadline = now + self.limits.timeout;
        invocation.deadline.map_or(deadline, |own| own.min(deadline))
    }

    fn find_sandbox(&mut self, id: SandboxId) -> Option<&mut Sandbox> {
        match self.sandboxes.get_mut(&id) {
            None => self.draining.get_mut(&id),
            found => found,
        }
    }

    /// Returns the start time of a sandbox and the signal for its supervisor; `None` when it does not exist.
    pub fn scheduled_start(&self, id: SandboxId) -> Option<(Instant, Arc<Notify>)> {
        let sandbox = self.sandboxes.get(&id).or_else(|| self.draining.get(&id));
        sandbox.map(|sandbox| (sandbox.since, sandbox.wake.clone()))
    }

    /// Dispatches the invocation to a free sandbox; returns it when there is none.
    fn dispatch_to_free(&mut self, now: Instant, mut invocation: PendingInvocation) -> Option<PendingInvocation> {
        while let Some(poll) = self.free_polls.pop() {
            let deadline = self.deadline_of(now, &invocation);
            let Some(sandbox) = self.sandboxes.get_mut(&poll.id) else { continue };
            let delivery = sandbox.begin_invocation(invocation, deadline);
            let Err(delivery) = poll.deliver.send(delivery) else { return None };
            // The runtime has closed this poll; try the next one.
            invocation = sandbox.reclaim_invocation(&delivery.event.request_id)?;
        }
        Some(invocation)
    }

    /// Handles a runtime's `/next`.
    pub fn poll(&mut self, now: Instant, id: SandboxId) -> PollOutcome {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return self.poll_draining(id) };
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
        let max_polls = self.limits.concurrency - sandbox.in_flight();
        sandbox.since = now;
        while let Some(invocation) = self.queue.pop_front() {
            let deadline = self.deadline_of(now, &invocation);
            if let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|_| !invocation.reply.is_closed()) {
                return PollOutcome::Deliver(sandbox.begin_invocation(invocation, deadline));
            }
        }
        self.park_poll(id, max_polls)
    }

    /// Stores a poll. Beyond `max_polls` the oldest ones are dropped, because the runtime has closed their connections.
    fn park_poll(&mut self, id: SandboxId, max_polls: usize) -> PollOutcome {
        while self.free_polls.iter().filter(|poll| poll.id == id).count() >= max_polls {
            let Some(oldest) = self.free_polls.iter().position(|poll| poll.id == id) else { break };
            self.free_polls.remove(oldest);
        }
        let (deliver, event) = oneshot::channel();
        self.free_polls.push(PendingPoll { id, deliver });
        PollOutcome::Wait(event)
    }

    /// Checks that a runtime may respond to this request now. `nonce` is its `Lambda-Runtime-Invocation-Id`, if it
    /// sends one.
    pub fn check_request(
        &mut self,
        id: SandboxId,
        request_id: &str,
        nonce: Option<&str>,
    ) -> Result<(), RuntimeCallError> {
        let sandbox = self.find_sandbox(id).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.check_request(request_id, nonce)
    }

    /// Sends the result of a request to its caller.
    pub fn finish_request(
        &mut self,
        now: Instant,
        id: SandboxId,
        request_id: &str,
        outcome: InvocationResult,
    ) -> Result<(), RuntimeCallError> {
        let sandbox = self.find_sandbox(id).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.finish_request(now, request_id, outcome)
    }

    /// Records a runtime's initialization error and shortens the time that its process has to exit.
    pub fn report_init_error(
        &mut self,
        now: Instant,
        id: SandboxId,
        error: InvokeError,
    ) -> Result<(), RuntimeCallError> {
        let sandbox = self.find_sandbox(id).filter(|sandbox| !sandbox.ready).ok_or(RuntimeCallError::InvalidState)?;
        sandbox.record_init_error(now, error);
        Ok(())
    }

    /// Returns the request id of a sandbox's log lines; `None` when it may run several requests at a time.
    pub fn current_request_id(&self, id: SandboxId) -> Option<Arc<str>> {
        let sandbox = self.sandboxes.get(&id).or_else(|| self.draining.get(&id))?;
        (self.limits.concurrency == 1).then(|| sandbox.current_request_id())?
    }

    /// Checks the timeouts of a sandbox. One that must be killed or retired has already been removed: its callers have
    /// their results, and it gets no more invocations.
    pub fn check_sandbox(&mut self, now: Instant, id: SandboxId) -> SandboxAction {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return self.check_draining(now, id) };
        if !sandbox.ready {
            return sandbox.check_init(now);
        }
        let is_stuck = sandbox.expire_invocations(now) && (sandbox.in_flight() >= self.limits.concurrency);
        if is_stuck {
            self.remove_sandbox(id);
            return SandboxAction::Kill;
        }
        let idle_until = sandbox.since + self.limits.idle_timeout;
        let mut next_check = sandbox.next_deadline();
        if sandbox.in_flight() == 0 && ready > self.limits.min_processes {
            if idle_until <= now {
                self.remove_sandbox(id);
                return SandboxAction::Retire;
            }
            next_check = Some(idle_until);
        }
        let next_check = next_check.unwrap_or(now + self.limits.idle_timeout);
        sandbox.next_check_at = next_check;
        SandboxAction::CheckAt(next_check)
    }

    /// Removes a sandbox whose process has exited, fails its invocations, and returns the sandboxes to start instead.
    pub fn remove_exited(&mut self, now: Instant, id: SandboxId, exit: SandboxExit) -> Vec<SandboxId> {
        let was_current = self.sandboxes.contains_key(&id);
        let Some(sandbox) = self.remove_sandbox(id) else { return self.schedule_starts(now) };
        let (ready, status) = (sandbox.ready || !was_current, exit.status);
        let timed_out = exit.init_timed_out && !sandbox.has_init_error();
        let repeats_init = sandbox.repeats_init;
        if !ready && timed_out && !repeats_init && !self.stopped {
            let repeated = self.repeat_init(now);
            if !repeated.is_empty() {
                return repeated;
            }
        }
        let ended = match &exit.failure {
            // An extension exited, and the process was killed for that reason.
            Some(failure @ InvokeError::Function { .. }) => failure.clone(),
            _ => InvokeError::process_exited(status),
        };
        let init_error = sandbox.fail_invocations(&ended);
        if !ready && !self.stopped {
            let timeout = timed_out.then(|| init_timeout_error(repeats_init));
            let failure =
                init_error.or(timeout).or(exit.failure).unwrap_or_else(|| InvokeError::process_exited(status));
            self.backoff.record_failure(now, failure.clone());
            self.fail_queued(&failure);
        }
        self.schedule_starts(now)
    }

    /// Fails the oldest queued invocation after a failed start; all of them when no other sandbox is left.
    fn fail_queued(&mut self, failure: &InvokeError) {
        let failed = if self.sandboxes.is_empty() { self.queue.len() } else { self.queue.len().min(1) };
        for invocation in self.queue.drain(..failed) {
            // Fails when the caller is gone.
            let _ = invocation.reply.send(Err(failure.clone()));
        }
    }

    fn remove_sandbox(&mut self, id: SandboxId) -> Option<Sandbox> {
        self.free_polls.retain(|poll| poll.id != id);
        self.draining_polls.retain(|poll| poll.id != id);
        self.sandboxes.remove(&id).or_else(|| self.draining.remove(&id))
    }

    /// Fails the queued invocations and rejects further ones.
    pub fn stop(&mut self) {
        self.stopped = true;
        for invocation in self.queue.drain(..) {
            let _ = invocation.reply.send(Err(InvokeError::Stopped));
        }
    }

    /// Returns the number of sandboxes that were started so far.
    pub const fn started_count(&self) -> u64 {
        self.started_count
    }

    /// Returns the number of processes, including those that are starting or draining.
    pub fn process_count(&self) -> usize {
        self.sandboxes.len() + self.draining.len()
    }
}

/// Exit of a sandbox.
#[derive(Debug, Default)]
pub(crate) struct SandboxExit {
    /// Exit status of the process, if it was started.
    pub status: Option<ExitStatus>,
    /// Reason why the process was not started or was killed during its initialization.
    pub failure: Option<InvokeError>,
    /// Whether the process was killed because its initialization, if it was not complete, exceeded its timeout.
    pub init_timed_out: bool,
}

#[cfg(test)]
mod tests;
