//! Frames of the server other than messages: one struct per frame type, with fields in wire order.
//!
//! A frame is encoded once, into one buffer that all receivers share.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::error::ErrorCode;
use crate::channel::{ChannelName, Epoch, Offset, Position};
use crate::identity::Role;
use crate::ports::Timestamp;

/// Protocol version in `welcome`; the subprotocol of this version is `twinway.v1`.
pub const PROTOCOL_VERSION: u32 = 1;

/// A frame that can be encoded as JSON text.
pub trait EncodeFrame: Serialize {
    /// Returns the approximate size in bytes, with which the buffer is allocated.
    fn size_hint(&self) -> usize {
        256
    }

    /// Encodes the frame as a string.
    fn encode_text(&self) -> String {
        String::from_utf8(self.encode_to_vec()).expect("serde_json writes UTF-8")
    }

    /// Encodes the frame as shared bytes.
    fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// Encodes the frame into a new buffer.
    fn encode_to_vec(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(self.size_hint());
        serde_json::to_writer(&mut buffer, self).expect("frames have text keys and the buffer takes every write");
        buffer
    }
}

/// `ack` of a `subscribe`, with the position from which each topic is live.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct SubscribeAckFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Topics by name.
    pub channels: BTreeMap<String, ResumedChannel>,
}

/// `ack` of a `leave` or `unsubscribe`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct LeaveAckFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Channels that the connection left.
    pub left: Vec<String>,
}

/// `welcome`: identity of the client and heads of its implicit channels.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "welcome", rename_all = "camelCase")]
pub struct WelcomeFrame<'a> {
    /// Id of the connection.
    pub connection: &'a str,
    pub user: &'a str,
    pub role: Role,
    pub tenant: &'a str,
    /// Always [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Time of the server's clock, in milliseconds since 1970.
    pub server_time: Timestamp,
    /// Heads of the channels that the client reads by identity: `everyone`, and a user's conversation.
    pub channels: BTreeMap<String, Position>,
}

/// `resumed`: the answer that ends a `resume`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "resumed")]
pub struct ResumedFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Channels by name.
    pub channels: BTreeMap<String, ResumedChannel>,
}

/// Position up to which a channel was caught up; later messages are live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResumedChannel {
    #[serde(flatten)]
    pub position: Position,
    /// Number of missed messages that were sent.
    pub count: u64,
}

/// `gap`: a range of messages that the client will not receive.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "gap")]
pub struct GapFrame<'a> {
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// First skipped offset.
    pub from: Offset,
    /// Last skipped offset; lower than `from` if no message of this epoch is skipped.
    pub to: Offset,
    /// Epoch of `from` and `to`.
    pub epoch: &'a Epoch,
    pub reason: GapReason,
}

/// Reason of a `gap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The log no longer retains the messages.
    Trimmed,
    /// The log was lost or reset since the client's position, which is therefore invalid.
    Epoch,
    /// The messages exceed the limits of a resume; `history` returns them.
    TooMany,
    /// The log was unavailable; `history` will return the messages.
    Unavailable,
    /// The messages were dropped because the connection did not read fast enough; `history` returns them.
    Slow,
}

impl GapReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Trimmed, Self::Epoch, Self::TooMany, Self::Unavailable, Self::Slow];
}

/// `members`: online users by channel. Answers `join` and `presence`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "members")]
pub struct MembersFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelMembers>,
}

/// Online users of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelMembers {
    /// Position of the channel; only in the answer to `join`.
    #[serde(flatten)]
    pub caught_up: Option<ResumedChannel>,
    /// Exact number of connections.
    pub connections: u64,
    /// Number of distinct users; absent in channels too large to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
    /// Online users, at most [`listed_members`](crate::limits::Limits::listed_members) in one answer.
    pub members: Vec<OnlineUser>,
}

/// An online user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnlineUser {
    pub user: String,
    pub role: Role,
    /// Number of counted connections of the user.
    pub connections: u64,
}

/// `presence`: a user came online or went offline in a channel. Ephemeral.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "presence")]
pub struct PresenceFrame<'a> {
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    pub user: &'a str,
    pub role: Role,
    pub state: PresenceState,
}

/// New presence of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// The first connection of the user opened or joined.
    Online,
    /// The last connection of the user closed or left.
    Offline,
}

/// `pong`: the answer to `ping`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "pong", rename_all = "camelCase")]
pub struct PongFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Time of the server's clock, in milliseconds since 1970.
    pub server_time: Timestamp,
}

/// `error`: the frame was rejected or failed.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorFrame<'a> {
    /// Code for programs.
    pub code: ErrorCode,
    /// Message for people.
    pub message: &'a str,
    /// Id of the rejected frame, if it was readable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Time in milliseconds after which the client may repeat the frame.
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl EncodeFrame for SubscribeAckFrame<'_> {}
impl EncodeFrame for LeaveAckFrame<'_> {}
impl EncodeFrame for WelcomeFrame<'_> {}
impl EncodeFrame for ResumedFrame<'_> {}
impl EncodeFrame for GapFrame<'_> {}
impl EncodeFrame for MembersFrame<'_> {}
impl EncodeFrame for PresenceFrame<'_> {}
impl EncodeFrame for PongFrame<'_> {}
impl EncodeFrame for ErrorFrame<'_> {}

/// Serializes a channel name without copying it.
pub(super) fn as_text<S: Serializer>(name: &ChannelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}
