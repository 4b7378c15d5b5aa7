//! Shared state of one function: current definition, pool of sandboxes, and their tasks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::pool::{SandboxId, SandboxPool};

/// Wall clock: returns milliseconds since 1970.
pub type WallClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Shared state of one function.
pub(crate) struct FunctionState {
    pub name: String,
    /// Definition of the processes that are started from now on.
    pub definition: Mutex<Arc<FunctionDefinition>>,
    pub clock: WallClock,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub pool: Mutex<SandboxPool>,
    /// Starts the task of a sandbox.
    pub start: fn(&Arc<Self>, SandboxId),
}

impl FunctionState {
    /// Returns the definition of the processes that are started from now on.
    pub fn definition(&self) -> Arc<FunctionDefinition> {
        self.definition.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Locks the pool; must not be held across `.await`.
    pub fn lock_pool(&self) -> MutexGuard<'_, SandboxPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns the tasks of sandboxes.
    pub fn start_sandboxes(self: &Arc<Self>, ids: Vec<SandboxId>) {
        for id in ids {
            (self.start)(self, id);
        }
    }
}
