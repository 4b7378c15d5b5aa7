//! A function: its pool of sandboxes, and the way in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::ids::{request_id, unsampled_trace};
use crate::invocation::{InvocationEvent, InvocationResult, InvokeError, PendingInvocation};
use crate::pool::SandboxPool;
use crate::process;
use crate::shared::{FunctionState, WallClock};

/// How long everything may take to end when a function is stopped: longer than a sandbox gives its process.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A function that can be invoked. Its processes end when it is stopped or dropped.
pub struct LambdaFunction {
    shared: Arc<FunctionState>,
    _stop_on_drop: DropGuard,
}

impl LambdaFunction {
    /// Starts the processes that are always to be there; the others come with the invocations. It must be called within
    /// a tokio runtime.
    #[must_use]
    pub fn start(definition: FunctionDefinition, clock: WallClock) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(FunctionState {
            pool: Mutex::new(SandboxPool::new(definition.limits.clone())),
            definition,
            clock,
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            start: |shared, id| drop(shared.tasks.spawn(process::run_sandbox(shared.clone(), id))),
        });
        let due = shared.lock_pool().schedule_starts(Instant::now());
        shared.start_sandboxes(due);
        Self { shared, _stop_on_drop: stop.drop_guard() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.definition.name
    }

    /// How many processes it has.
    #[must_use]
    pub fn process_count(&self) -> usize {
        self.shared.lock_pool().process_count()
    }

    /// Invokes it with an event. The invocation goes on when the returned future is dropped once a process has it, as on
    /// Lambda; one that still waits is forgotten.
    ///
    /// # Errors
    /// [`InvokeError`]: the function failed, took too long, or may not run.
    pub async fn invoke(&self, payload: Bytes) -> InvocationResult {
        let (reply, answer) = oneshot::channel();
        let shared = &self.shared;
        let event = InvocationEvent {
            request_id: request_id().into(),
            nonce: request_id().into(),
            trace_id: unsampled_trace((shared.clock)()).into(),
            payload,
        };
        let due = shared.lock_pool().submit(Instant::now(), PendingInvocation { event, reply })?;
        shared.start_sandboxes(due);
        match tokio::time::timeout(self.reply_timeout(), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(InvokeError::Stopped),
            Err(_) => Err(InvokeError::TimedOut),
        }
    }

    /// A process's start, one invocation before, its own time; behind that something hangs.
    fn reply_timeout(&self) -> Duration {
        let limits = &self.shared.definition.limits;
        limits.init_timeout + limits.timeout * 2 + Duration::from_secs(1)
    }

    /// Ends all processes and waits for them. Whoever still waits is told [`InvokeError::Stopped`].
    pub async fn stop(&self) {
        self.shared.lock_pool().stop();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(function.name = self.name(), "a function's processes did not end in time");
        }
    }
}
