//! What the application sends beside messages: one struct per frame type, field order as on the wire.
//!
//! Invariant: a frame is encoded once, into one buffer that all receivers share.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Serialize, Serializer};

use super::error::ErrorCode;
use crate::channel::{ChannelName, Epoch, Offset, Position};
use crate::identity::Role;
use crate::ports::Timestamp;

/// The protocol version that `welcome` names and `twinway.v1` stands for.
pub const PROTOCOL_VERSION: u32 = 1;

/// A frame that can be put on the wire.
pub trait EncodeFrame: Serialize {
    /// About how many bytes it takes, so that the buffer need not grow.
    fn size_hint(&self) -> usize {
        256
    }

    /// The frame's text.
    fn encode_text(&self) -> String {
        String::from_utf8(self.encode_to_vec()).expect("serde_json writes UTF-8")
    }

    /// The frame's text as shared bytes.
    fn encode(&self) -> Bytes {
        Bytes::from(self.encode_to_vec())
    }

    /// The frame's text in a buffer of its own.
    fn encode_to_vec(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(self.size_hint());
        serde_json::to_writer(&mut buffer, self).expect("frames have text keys and the buffer takes every write");
        buffer
    }
}

/// `ack` of a `subscribe`: from where each topic flows.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct SubscribeAckFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The topics by name.
    pub channels: BTreeMap<String, ResumedChannel>,
}

/// `ack` of a `leave` or `unsubscribe`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct LeaveAckFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// What the connection is no longer in.
    pub left: Vec<String>,
}

/// `welcome`: who the server takes the client for, and where its own channels stand.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "welcome", rename_all = "camelCase")]
pub struct WelcomeFrame<'a> {
    /// The connection's id.
    pub connection: &'a str,
    /// The user of the token.
    pub user: &'a str,
    /// Its role.
    pub role: Role,
    /// Its tenant.
    pub tenant: &'a str,
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// The server's clock, in milliseconds since 1970.
    pub server_time: Timestamp,
    /// The ends of the channels that it belongs to by name: `everyone`, and a user's conversation.
    pub channels: BTreeMap<String, Position>,
}

/// `resumed`: the closing summary of a `resume`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "resumed")]
pub struct ResumedFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The channels by name.
    pub channels: BTreeMap<String, ResumedChannel>,
}

/// How far one channel was caught up: what follows is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResumedChannel {
    /// Up to where.
    #[serde(flatten)]
    pub position: Position,
    /// How many missed messages were sent.
    pub count: u64,
}

/// `gap`: messages of a channel that the client will not be sent.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "gap")]
pub struct GapFrame<'a> {
    /// The channel.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// The first offset that is left out.
    pub from: Offset,
    /// The last one; below `from` when nothing of this epoch is left out.
    pub to: Offset,
    /// The log's incarnation that `from` and `to` belong to.
    pub epoch: &'a Epoch,
    /// Why.
    pub reason: GapReason,
}

/// Why messages were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The log no longer keeps them.
    Trimmed,
    /// The log was lost or reset since the client's position: that position means nothing any more.
    Epoch,
    /// They are too many for a resume; `history` has them.
    TooMany,
    /// They could not be read just now; `history` will have them.
    Unavailable,
    /// The connection did not read fast enough, and they were dropped for it; `history` has them.
    Slow,
}

impl GapReason {
    /// Every reason, for documentation.
    pub const ALL: [Self; 5] = [Self::Trimmed, Self::Epoch, Self::TooMany, Self::Unavailable, Self::Slow];
}

/// `members`: who is online, by channel. The answer to `join` and `presence`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "members")]
pub struct MembersFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The channels by name.
    pub channels: BTreeMap<String, ChannelMembers>,
}

/// Who is online in one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelMembers {
    /// Where the channel stands; only in the answer to `join`.
    #[serde(flatten)]
    pub caught_up: Option<ResumedChannel>,
    /// How many connections there are: always exact.
    pub connections: u64,
    /// How many distinct users; absent in a channel too large to be counted through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
    /// Some of them: all as long as an answer lists at most [`listed_members`](crate::limits::Limits::listed_members).
    pub members: Vec<OnlineUser>,
}

/// A user that is online.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnlineUser {
    /// The user.
    pub user: String,
    /// Its role.
    pub role: Role,
    /// With how many connections, as far as the channel was counted.
    pub connections: u64,
}

/// `presence`: a user came to a channel or left it. Ephemeral.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "presence")]
pub struct PresenceFrame<'a> {
    /// The channel.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// The user.
    pub user: &'a str,
    /// Its role.
    pub role: Role,
    /// Which of the two.
    pub state: PresenceState,
}

/// What a user's presence turned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// Its first connection came.
    Online,
    /// Its last connection left.
    Offline,
}

/// `pong`: the answer to `ping`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "pong", rename_all = "camelCase")]
pub struct PongFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The server's clock, in milliseconds since 1970.
    pub server_time: Timestamp,
}

/// `error`: the frame was not carried out.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "error")]
pub struct ErrorFrame<'a> {
    /// What a program branches on.
    pub code: ErrorCode,
    /// What a person reads.
    pub message: &'a str,
    /// The refused frame's id, when it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
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

/// Writes a channel name without a copy of it.
pub(super) fn as_text<S: Serializer>(name: &ChannelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}
