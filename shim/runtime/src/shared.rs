//! What the parts of one function share: its definition, its pool of sandboxes, and the tasks that run them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::pool::{SandboxId, SandboxPool};

/// Milliseconds since 1970. Wall-clock time comes from outside.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the parts of one function share.
pub(crate) struct FunctionState {
    pub definition: FunctionDefinition,
    pub clock: WallClock,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub pool: Mutex<SandboxPool>,
    /// Starts the task of a sandbox.
    pub start: fn(&Arc<Self>, SandboxId),
}

impl FunctionState {
    /// The pool, for as long as a statement takes: nothing waits while it is held.
    pub fn lock_pool(&self) -> MutexGuard<'_, SandboxPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts sandboxes.
    pub fn start_sandboxes(self: &Arc<Self>, due: Vec<SandboxId>) {
        for id in due {
            (self.start)(self, id);
        }
    }
}
