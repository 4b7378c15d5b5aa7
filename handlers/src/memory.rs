//! Adapters that live in this process.
//!
//! [`MemoryConnections`] is what the embedded mode runs on, [`MemoryLog`] what it runs on without a data directory.
//! [`MemoryDelivery`] and [`ManualClock`] are for tests: they keep what happened and move time by hand. All keep the
//! contracts of their ports to the letter (`handlers::conformance`), and all are bounded. Nothing here survives the process.

mod clock;
mod connections;
mod delivery;
mod log;

pub use clock::ManualClock;
pub use connections::MemoryConnections;
pub use delivery::MemoryDelivery;
pub use log::{ChannelRetention, MemoryLog};
