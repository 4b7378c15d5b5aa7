//! The ports: traits through which the application reads and writes all external state.
//!
//! | port | state | contract suite |
//! |---|---|---|
//! | [`ConnectionStore`] | records of the open connections | `conformance::connections` |
//! | [`MessageLog`] | messages of all channels | `conformance::log` |
//! | [`Delivery`] | frames to clients | `conformance::delivery` |
//! | [`Clock`] | time and unique ids | none: each adapter has tests of its own |
//! | [`ActionBudget`] | work that a connection may cause | `conformance::budget` |
//! | [`RevocationStore`] | tokens that are rejected before they expire | `conformance::revocations` |
//!
//! The traits are object-safe and held as `Arc<dyn …>`, so handlers have no type parameters. Each trait documents its
//! contract; a suite tests it for every adapter.

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
