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

use self::backoff::Backoff;
use self::sandbox::Sandbox;
pub(crate) use self::sandbox::{Refusal, SandboxId};
use crate::definition::Limits;
use crate::invocation::{Delivery, Invocation, InvokeError, Outcome};

/// The sandboxes and the queue of one function.
pub(crate) struct Pool {
    limits: Limits,
    queue: VecDeque<Invocation>,
    free: Vec<Poll>,
    sandboxes: HashMap<SandboxId, Sandbox>,
    begun: u64,
    backoff: Backoff,
    stopped: bool,
}

/// A runtime that waits for an event.
struct Poll {
    id: SandboxId,
    deliver: oneshot::Sender<Delivery>,
}

/// What a runtime's `/next` gets.
pub(crate) enum Next {
    /// An event at once.
    Deliver(Delivery),
    /// An event as soon as there is one. The channel closes when a newer poll takes this one's place.
    Wait(oneshot::Receiver<Delivery>),
    /// Nothing: the sandbox is gone or has as many as it may have.
    Refuse,
}

/// What is to be done about a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Look again then, or when woken.
    Until(Instant),
    /// It has had its time: kill it at once.
    Kill,
    /// It is not needed any more: stop it gently.
    Retire,
}

impl Pool {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            queue: VecDeque::new(),
            free: Vec::new(),
            sandboxes: HashMap::new(),
            begun: 0,
            backoff: Backoff::default(),
            stopped: false,
        }
    }

    /// Takes an invocation in, and says which sandboxes are to be started for it.
    pub fn submit(&mut self, now: Instant, invocation: Invocation) -> Result<Vec<SandboxId>, InvokeError> {
        if self.stopped {
            return Err(InvokeError::Stopped);
        }
        let Some(invocation) = self.hand_over(now, invocation) else { return Ok(Vec::new()) };
        if self.sandboxes.values().all(|sandbox| sandbox.since > now)
            && let Some(failure) = self.backoff.failure(now)
        {
            return Err(failure);
        }
        self.queue.retain(|waiting| !waiting.reply.is_closed());
        if self.queue.len() >= self.room() {
            return Err(InvokeError::Throttled);
        }
        self.queue.push_back(invocation);
        Ok(self.due(now))
    }

    /// How many may wait: those that a starting or still possible sandbox will take, and the configured queue.
    fn room(&self) -> usize {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let coming = self.limits.max_processes.saturating_sub(ready);
        self.limits.queue.saturating_add(coming.saturating_mul(self.limits.concurrency))
    }

    /// The sandboxes that have to be started now.
    pub fn due(&mut self, now: Instant) -> Vec<SandboxId> {
        let mut starting = self.sandboxes.values().filter(|sandbox| !sandbox.ready).count();
        let mut due = Vec::new();
        while !self.stopped && self.sandboxes.len() < self.limits.max_processes {
            let wanted = starting * self.limits.concurrency < self.queue.len() && !self.backoff.is_active(now);
            if !wanted && self.sandboxes.len() >= self.limits.min_processes {
                break;
            }
            self.begun += 1;
            let id = SandboxId(self.begun);
            let launch = self.backoff.until().unwrap_or(now).max(now);
            self.sandboxes.insert(id, Sandbox::new(launch, launch + self.limits.init_timeout));
            due.push(id);
            starting += 1;
        }
        due
    }

    /// When a sandbox is to be started, and what wakes its watch; `None` when it is gone.
    pub fn launch(&self, id: SandboxId) -> Option<(Instant, Arc<Notify>)> {
        self.sandboxes.get(&id).map(|sandbox| (sandbox.since, sandbox.wake.clone()))
    }

    /// Gives the invocation to a free sandbox; gives it back when there is none.
    fn hand_over(&mut self, now: Instant, mut invocation: Invocation) -> Option<Invocation> {
        while let Some(poll) = self.free.pop() {
            let Some(sandbox) = self.sandboxes.get_mut(&poll.id) else { continue };
            let deadline = now + self.limits.timeout;
            let delivery = sandbox.begin(invocation, deadline);
            let Err(delivery) = poll.deliver.send(delivery) else { return None };
            // This poll has been given up: the next one, if there is one.
            invocation = sandbox.take_back(&delivery.event.request_id)?;
        }
        Some(invocation)
    }

    /// A runtime asks for its next event.
    pub fn poll(&mut self, now: Instant, id: SandboxId) -> Next {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return Next::Refuse };
        if !sandbox.ready {
            sandbox.ready = true;
            self.backoff.reset();
        }
        if self.limits.concurrency == 1
            && let Some(delivery) = sandbox.current()
        {
            return Next::Deliver(delivery);
        }
        if sandbox.in_flight() >= self.limits.concurrency {
            return Next::Refuse;
        }
        while let Some(invocation) = self.queue.pop_front() {
            if !invocation.reply.is_closed() {
                return Next::Deliver(sandbox.begin(invocation, now + self.limits.timeout));
            }
        }
        let most = self.limits.concurrency - sandbox.in_flight();
        sandbox.since = now;
        self.park(id, most)
    }

    /// Keeps a poll. The newest ones count: an older one is of a connection that the runtime has given up.
    fn park(&mut self, id: SandboxId, most: usize) -> Next {
        while self.free.iter().filter(|poll| poll.id == id).count() >= most {
            let Some(oldest) = self.free.iter().position(|poll| poll.id == id) else { break };
            self.free.remove(oldest);
        }
        let (deliver, event) = oneshot::channel();
        self.free.push(Poll { id, deliver });
        Next::Wait(event)
    }

    /// Whether a runtime may answer this request now. `nonce` is what it echoes, if it echoes one.
    pub fn check(&mut self, id: SandboxId, request_id: &str, nonce: Option<&str>) -> Result<(), Refusal> {
        let sandbox = self.sandboxes.get_mut(&id).ok_or(Refusal::State)?;
        sandbox.check(request_id, nonce)
    }

    /// Answers the caller of a request.
    pub fn finish(&mut self, now: Instant, id: SandboxId, request_id: &str, outcome: Outcome) -> Result<(), Refusal> {
        let sandbox = self.sandboxes.get_mut(&id).ok_or(Refusal::State)?;
        sandbox.finish(now, request_id, outcome)
    }

    /// A runtime says that it cannot start. It gets a moment to end by itself.
    pub fn init_failed(&mut self, now: Instant, id: SandboxId, error: InvokeError) -> Result<(), Refusal> {
        let sandbox = self.sandboxes.get_mut(&id).filter(|sandbox| !sandbox.ready).ok_or(Refusal::State)?;
        sandbox.fail_init(now, error);
        Ok(())
    }

    /// The id of the request that a sandbox's log lines belong to, where it works on one at a time.
    pub fn request(&self, id: SandboxId) -> Option<Arc<str>> {
        let sandbox = self.sandboxes.get(&id)?;
        (self.limits.concurrency == 1).then(|| sandbox.request())?
    }

    /// Looks whether a sandbox has run out of time. One that is to be killed or retired is gone already: its callers are
    /// answered, and nothing more is handed to it.
    pub fn watch(&mut self, now: Instant, id: SandboxId) -> Watch {
        let ready = self.sandboxes.values().filter(|sandbox| sandbox.ready).count();
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return Watch::Kill };
        if !sandbox.ready {
            return sandbox.watch_init(now);
        }
        let hangs = sandbox.expire(now) && (sandbox.in_flight() >= self.limits.concurrency);
        if hangs {
            self.remove(id);
            return Watch::Kill;
        }
        let idle_until = sandbox.since + self.limits.idle_timeout;
        let mut look_again = sandbox.next_deadline();
        if sandbox.in_flight() == 0 && ready > self.limits.min_processes {
            if idle_until <= now {
                self.remove(id);
                return Watch::Retire;
            }
            look_again = Some(idle_until);
        }
        let look_again = look_again.unwrap_or(now + self.limits.idle_timeout);
        sandbox.watched_until = look_again;
        Watch::Until(look_again)
    }

    /// A sandbox's process has ended. Says which sandboxes are to be started in its place.
    pub fn gone(&mut self, now: Instant, id: SandboxId, end: End) -> Vec<SandboxId> {
        let Some(sandbox) = self.remove(id) else { return self.due(now) };
        let (ready, status) = (sandbox.ready, end.status);
        let init_error = sandbox.end(|request_id| InvokeError::exited(request_id, status));
        if !ready && !self.stopped {
            let failure = init_error.or(end.failure).unwrap_or_else(|| InvokeError::exited(None, status));
            self.backoff.note(now, failure.clone());
            self.fail_waiting(&failure);
        }
        self.due(now)
    }

    /// A start that failed costs the invocation that has waited longest; the last hope, all of them.
    fn fail_waiting(&mut self, failure: &InvokeError) {
        let failed = if self.sandboxes.is_empty() { self.queue.len() } else { self.queue.len().min(1) };
        for invocation in self.queue.drain(..failed) {
            // A caller that is gone needs no answer.
            let _ = invocation.reply.send(Err(failure.clone()));
        }
    }

    fn remove(&mut self, id: SandboxId) -> Option<Sandbox> {
        self.free.retain(|poll| poll.id != id);
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
    pub fn processes(&self) -> usize {
        self.sandboxes.len()
    }
}

/// How a sandbox ended.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// The exit status of its process, if there was one.
    pub status: Option<ExitStatus>,
    /// Why there was none, or why it was killed while it was starting.
    pub failure: Option<InvokeError>,
}

#[cfg(test)]
mod tests;
