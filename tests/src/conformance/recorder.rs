//! What events were seen: in this process's memory, or posted to an observer's connection by probes that run elsewhere.
//!
//! Invariant: events come out per kind, in the order in which the probes got them, and none comes out twice. A recorder
//! belongs to one case, so what it gives can only be of that case's connections.

mod memory;
mod observer;

use async_trait::async_trait;

pub use self::memory::MemoryRecorder;
pub use self::observer::ConnectionRecorder;

use super::event::{Event, EventKind};

/// Where a case learns what the probes saw.
#[async_trait]
pub trait EventRecorder: Send + Sync {
    /// The next event of `kind`; waits for it as long as the case has patience.
    ///
    /// # Errors
    /// None came in time, or the way from the probes is broken.
    async fn next(&self, kind: EventKind) -> anyhow::Result<Event>;

    /// How many events of `kind` have come so far, taken or not. It does not wait for more: ask after an event that can
    /// only come later.
    ///
    /// # Errors
    /// The way from the probes is broken.
    async fn count(&self, kind: EventKind) -> anyhow::Result<usize>;
}
