//! Public handle of a function: start, invoke and stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::ids::{invocation_trace, request_id};
use crate::invocation::{InvocationEvent, InvocationResult, InvokeError, PendingInvocation};
use crate::pool::SandboxPool;
use crate::process;
use crate::program::Program;
use crate::shared::{FunctionState, WallClock};

/// Maximum time for all processes to exit when a function is stopped; longer than a sandbox's termination timeout.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the termination of a process whose initialization timed out.
const TERMINATION_ALLOWANCE: Duration = Duration::from_secs(6);

/// A running function. Its processes are terminated when it is stopped or dropped.
pub struct LambdaFunction {
    shared: Arc<FunctionState>,
    _stop_on_drop: DropGuard,
}

impl LambdaFunction {
    /// Starts the function with `min_processes` processes; the others are started on demand. `clock` returns
    /// milliseconds since 1970. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(definition: FunctionDefinition, clock: WallClock) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(FunctionState {
            name: definition.name.clone(),
            pool: Mutex::new(SandboxPool::new(definition.limits.clone())),
            definition: Mutex::new(Arc::new(definition)),
            clock,
            tasks: TaskTracker::new(),
            stop: stop.clone(),
            start: |shared, id| drop(shared.tasks.spawn(process::run_sandbox(shared.clone(), id))),
        });
        let to_start = shared.lock_pool().schedule_starts(Instant::now());
        shared.start_sandboxes(to_start);
        Self { shared, _stop_on_drop: stop.drop_guard() }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Replaces the definition: further invocations run in new processes, while those that are running finish in the old
    /// ones, which exit afterwards. Queued invocations run in new processes. The name of the function does not change.
    pub fn replace_definition(&self, definition: FunctionDefinition) {
        let shared = &self.shared;
        let limits = definition.limits.clone();
        let definition = Arc::new(FunctionDefinition { name: shared.name.clone(), ..definition });
        *shared.definition.lock().unwrap_or_else(PoisonError::into_inner) = definition;
        let to_start = shared.lock_pool().replace_sandboxes(Instant::now(), limits);
        shared.start_sandboxes(to_start);
    }

    /// Replaces the program, as [`Self::replace_definition`].
    pub fn replace_program(&self, program: Program) {
        let definition = FunctionDefinition { program, ..(*self.shared.definition()).clone() };
        self.replace_definition(definition);
    }

    /// Returns the number of processes, including those that are starting or finishing.
    #[must_use]
    pub fn process_count(&self) -> usize {
        self.shared.lock_pool().process_count()
    }

    /// Returns the number of processes that were started so far. An invocation during which it grows was a cold start.
    #[must_use]
    pub fn process_starts(&self) -> u64 {
        self.shared.lock_pool().started_count()
    }

    /// Invokes the function with an event. When the returned future is dropped, an invocation that a process has
    /// received continues, as on Lambda; one that is still queued is discarded.
    ///
    /// # Errors
    /// [`InvokeError`] when the function failed, timed out, was throttled or is stopped.
    pub async fn invoke(&self, payload: Bytes) -> InvocationResult {
        self.invoke_in_trace(payload, None).await
    }

    /// Invokes the function, as [`Self::invoke`], in the trace of the request that caused the invocation. `trace` is the
    /// request's `X-Amzn-Trace-Id`; without a valid `Root` the invocation has a trace of its own.
    ///
    /// # Errors
    /// As [`Self::invoke`].
    pub async fn invoke_in_trace(&self, payload: Bytes, trace: Option<&str>) -> InvocationResult {
        let (reply, result) = oneshot::channel();
        let shared = &self.shared;
        let event = InvocationEvent {
            request_id: request_id().into(),
            nonce: request_id().into(),
            trace_id: invocation_trace(trace, (shared.clock)()).into(),
            payload,
        };
        let to_start = shared.lock_pool().submit(Instant::now(), PendingInvocation { event, reply, deadline: None })?;
        shared.start_sandboxes(to_start);
        match tokio::time::timeout(self.reply_timeout(), result).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(InvokeError::Stopped),
            Err(_) => Err(InvokeError::TimedOut),
        }
    }

    /// Returns an upper bound of an invocation's duration: a process start and its termination, one earlier invocation,
    /// and its own timeout.
    fn reply_timeout(&self) -> Duration {
        let limits = &self.shared.definition().limits;
        limits.init_timeout + limits.timeout * 2 + TERMINATION_ALLOWANCE
    }

    /// Terminates all processes and waits for their exit. Pending invocations fail with [`InvokeError::Stopped`].
    pub async fn stop(&self) {
        self.shared.lock_pool().stop();
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(function.name = self.name(), "function processes did not exit before the stop timeout");
        }
    }
}
