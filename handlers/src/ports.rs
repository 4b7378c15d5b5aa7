//! The four ports: everything the application does to the outside goes through one of these traits.
//!
//! They are object-safe and held as `Arc<dyn …>`, so that no type parameter travels through the handlers. Each has one
//! contract, in prose on the trait and as a suite in `handlers::conformance` that every adapter runs.

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

/// What an adapter hands over beneath its own error: the technology's error, kept for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
