//! The frames of the wire protocol, version 1 (`docs/PROTOCOL.md`).
//!
//! What a client sends is read by [`ClientFrame::parse`], what it receives is one of the structs that are a [`EncodeFrame`], each
//! encoded once and shared by all receivers. Invariant: a parsed frame is within every limit of [`crate::limits`]. Rights
//! are not looked at here.

mod error;
mod fields;
mod incoming;
mod messages;
mod notice;
mod outgoing;

pub use error::{ClientError, ErrorCode, FrameParseError};
pub use incoming::{ChannelRequest, ClientAction, ClientFrame, ClientPosition, HistoryRequest, SendRequest};
pub use messages::{AckFrame, FromField, HistoryEntry, HistoryFrame, MessageFrame};
pub use notice::{DegradedFrame, DegradedState, ReconnectFrame};
pub use outgoing::{
    ChannelMembers, EncodeFrame, ErrorFrame, GapFrame, GapReason, LeaveAckFrame, MembersFrame, OnlineUser,
    PROTOCOL_VERSION, PongFrame, PresenceFrame, PresenceState, ResumedChannel, ResumedFrame, SubscribeAckFrame,
    WelcomeFrame,
};
