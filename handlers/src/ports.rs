//! The four ports: traits through which the application reads and writes all external state.
//!
//! The traits are object-safe and held as `Arc<dyn …>`, so handlers have no type parameters. Each trait documents its
//! contract, and a suite in `handlers::conformance` tests it for every adapter.

mod clock;
mod connections;
mod delivery;
mod log;

pub use clock::{Clock, Timestamp};
pub use connections::{ChannelChange, ClientConnection, ConnectionStore, OccupiedChannel, Page, StoreError};
pub use delivery::{
    CloseReason, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, Placement, Priority, ResumeOutcome,
};
pub use log::{AppendOutcome, AppendRequest, LogEntry, LogError, LogRange, LogSlice, MessageLog, MessageSender};

/// Source of a port error: the error of the underlying technology, for logs.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
