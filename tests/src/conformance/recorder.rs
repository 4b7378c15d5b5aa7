//! Event recorders: in this process's memory, or on an observer's connection to which remote probes post.
//!
//! Events are returned per kind, in the order in which the probes received them, each once. A recorder belongs to one
//! case, so it contains only the events of that case's connections.

mod memory;
mod observer;

use async_trait::async_trait;

pub use self::memory::MemoryRecorder;
pub use self::observer::ConnectionRecorder;

use super::event::{Event, EventKind};

/// Source of the events that the probes received.
#[async_trait]
pub trait EventRecorder: Send + Sync {
    /// Returns the next event of `kind`; waits up to the timeout of the case.
    ///
    /// # Errors
    /// No event arrived in time, or the connection to the probes is broken.
    async fn next(&self, kind: EventKind) -> anyhow::Result<Event>;

    /// Returns the number of events of `kind` so far, including returned ones, without waiting. Call it after an
    /// event that follows the counted ones.
    ///
    /// # Errors
    /// The connection to the probes is broken.
    async fn count(&self, kind: EventKind) -> anyhow::Result<usize>;
}
