//! Sandboxes that take the place of others: those of a replaced definition, and repeated initializations.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::sandbox::{Sandbox, SandboxId};
use super::{PendingPoll, PollOutcome, SandboxAction, SandboxPool};
use crate::definition::FunctionLimits;
use crate::invocation::InvokeError;

impl SandboxPool {
    /// Replaces all sandboxes by those of a new definition, and returns the ones to start. The old ones finish their
    /// invocations.
    pub fn replace_sandboxes(&mut self, now: Instant, limits: FunctionLimits) -> Vec<SandboxId> {
        self.limits = limits;
        self.backoff.reset();
        for (id, sandbox) in self.sandboxes.drain() {
            sandbox.wake.notify_one();
            self.draining.insert(id, sandbox);
        }
        self.draining_polls.append(&mut self.free_polls);
        self.schedule_starts(now)
    }

    /// Handles `/next` of a sandbox that receives no further invocations: the poll stays open until its process exits.
    pub(super) fn poll_draining(&mut self, id: SandboxId) -> PollOutcome {
        let Some(sandbox) = self.draining.get_mut(&id) else { return PollOutcome::Reject };
        if self.limits.concurrency == 1
            && let Some(delivery) = sandbox.current_event()
        {
            return PollOutcome::Deliver(delivery);
        }
        sandbox.wake.notify_one();
        let (deliver, event) = oneshot::channel();
        self.draining_polls.push(PendingPoll { id, deliver });
        PollOutcome::Wait(event)
    }

    /// Checks a sandbox of an earlier definition, which exits after its invocations.
    pub(super) fn check_draining(&mut self, now: Instant, id: SandboxId) -> SandboxAction {
        let Some(sandbox) = self.draining.get_mut(&id) else { return SandboxAction::Kill };
        let is_stuck = sandbox.expire_invocations(now);
        match sandbox.next_deadline().filter(|_| sandbox.in_flight() > 0) {
            Some(next_check) => {
                sandbox.next_check_at = next_check;
                SandboxAction::CheckAt(next_check)
            }
            None => {
                self.remove_sandbox(id);
                if is_stuck { SandboxAction::Kill } else { SandboxAction::Retire }
            }
        }
    }

    /// Starts a sandbox again for the oldest invocation that waits for it: an initialization that exceeds its timeout is
    /// repeated once within the invocation, under the function's timeout (Lambda developer guide,
    /// `lambda-runtime-environment`). Returns nothing when no invocation waits.
    pub(super) fn repeat_init(&mut self, now: Instant) -> Vec<SandboxId> {
        self.queue.retain(|queued| !queued.reply.is_closed());
        let deadline = now + self.limits.timeout;
        let Some(waiting) = self.queue.iter_mut().find(|queued| queued.deadline.is_none()) else { return Vec::new() };
        waiting.deadline = Some(deadline);
        let mut sandbox = Sandbox::new(now, deadline);
        sandbox.repeats_init = true;
        let id = self.add_sandbox(sandbox);
        let further = self.schedule_starts(now);
        [vec![id], further].concat()
    }
}

/// Returns the error of an initialization that exceeded its timeout; a repeated one has exceeded that of the invocation.
pub(super) fn init_timeout_error(repeated: bool) -> InvokeError {
    if repeated {
        return InvokeError::TimedOut;
    }
    InvokeError::function_error("Sandbox.Timedout", "function initialization timed out")
}
