//! The frames of the wire protocol, version 1 (`docs/PROTOCOL.md`).
//!
//! Frames of clients are parsed by [`ClientFrame::parse`]. Frames of the server are structs that implement
//! [`EncodeFrame`]; each is encoded once and shared by all receivers. A parsed frame is within every limit of
//! [`crate::limits`]. Permissions are not checked here.

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
