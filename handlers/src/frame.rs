//! The frames of the wire protocol, version 1 (`docs/PROTOCOL.md`).
//!
//! What a client sends is read by [`Incoming::parse`], what it receives is one of the structs that are a [`Frame`], each
//! encoded once and shared by all receivers. Invariant: a parsed frame is within every limit of [`crate::limits`]. Rights
//! are not looked at here.

mod error;
mod fields;
mod incoming;
mod messages;
mod notice;
mod outgoing;

pub use error::{ErrorCode, Refusal, Rejected};
pub use incoming::{Action, HistoryRequest, Incoming, SendRequest, Since, Wanted};
pub use messages::{Ack, From, History, HistoryEntry, MessageFrame};
pub use notice::{Degraded, DegradedState, Reconnect};
pub use outgoing::{
    ChannelMembers, ErrorFrame, Frame, Gap, GapReason, Left, Member, Members, PROTOCOL_VERSION, Pong, PresenceFrame,
    PresenceState, Resumed, ResumedChannel, Subscribed, Welcome,
};
