//! What the parts of one function share: its definition, its pool of sandboxes, and the tasks that run them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::definition::Definition;
use crate::pool::{Pool, SandboxId};

/// Milliseconds since 1970. Wall-clock time comes from outside.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the parts of one function share.
pub(crate) struct Shared {
    pub definition: Definition,
    pub clock: WallClock,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub pool: Mutex<Pool>,
    /// Starts the task of a sandbox.
    pub start: fn(&Arc<Self>, SandboxId),
}

impl Shared {
    /// The pool, for as long as a statement takes: nothing waits while it is held.
    pub fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts sandboxes.
    pub fn launch(self: &Arc<Self>, due: Vec<SandboxId>) {
        for id in due {
            (self.start)(self, id);
        }
    }
}
