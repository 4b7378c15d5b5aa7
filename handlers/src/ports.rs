//! The four ports: traits through which the application reads and writes all external state.
//!
//! The traits are object-safe and held as `Arc<dyn …>`, so handlers have no type parameters. Each trait documents its
//! contract, and a suite in `handlers::conformance` tests it for every adapter. [`ActionBudget`] limits the work of a
//! connection, where a process serves it for its whole life. [`RevocationStore`] has the tokens that are rejected before
//! they expire.

mod budget;
mod clock;
mod connections;
mod delivery;
mod log;
mod revocations;

pub use budget::{ActionBudget, UnlimitedBudget};
pub use clock::{Clock, Timestamp};
pub use connections::{ChannelChange, ClientConnection, ConnectionStore, OccupiedChannel, Page, StoreError};
pub use delivery::{
    CloseReason, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, Placement, Priority, ResumeOutcome,
};
pub use log::{AppendOutcome, AppendRequest, LogEntry, LogError, LogRange, LogSlice, MessageLog, MessageSender};
pub use revocations::{Revocation, RevocationStore, RevokedSubject, TokenIssue};

/// Source of a port error: the error of the underlying technology, for logs.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
