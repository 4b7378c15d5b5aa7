//! In-memory adapters of the ports.
//!
//! The embedded mode uses [`MemoryConnections`], and [`MemoryLog`] if no data directory is configured.
//! [`MemoryDelivery`] and [`ManualClock`] are for tests: they record frames and advance time on request. All adapters
//! fulfil the contracts of their ports (`handlers::conformance`) and are bounded. Their contents are lost when the
//! process ends.

mod clock;
mod connections;
mod delivery;
mod log;
mod revocations;

pub use clock::ManualClock;
pub use connections::MemoryConnections;
pub use delivery::MemoryDelivery;
pub use log::{ChannelRetention, MemoryLog};
pub use revocations::MemoryRevocations;
