//! The frames that carry messages: `message`, its `ack`, and `history`.
//!
//! A logged message has the same fields in a live frame, a resume and a history. The structs borrow, so that the hot
//! path copies a body exactly once, into the frame.

use serde::Serialize;
use serde_json::value::RawValue;

use super::outgoing::{EncodeFrame, as_text};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::identity::Role;
use crate::ports::{AppendOutcome, AppendRequest, LogEntry, MessageSender, Timestamp};

/// Sender of a message.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FromField<'a> {
    /// Id of the user, or name of the service.
    pub user: &'a str,
    pub role: Role,
}

/// `message`: one message of a channel. Ephemeral messages have neither `epoch` nor `offset`.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct MessageFrame<'a> {
    /// The channel, without its tenant.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<&'a Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Message id chosen by the sender; optional in ephemeral messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    pub from: FromField<'a>,
    /// Milliseconds since 1970.
    #[serde(rename = "sentAt")]
    pub sent_at: Timestamp,
    /// Any JSON value, exactly as sent.
    pub body: &'a RawValue,
}

/// `ack` of a `send`: the message is durable at this position. Acks of ephemeral messages have neither position nor
/// time.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct AckFrame<'a> {
    /// Id of the frame, or the generated one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<&'a Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Time of the first append, in milliseconds since 1970.
    #[serde(rename = "sentAt", skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// `history`: messages of a channel in ascending order.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "history")]
pub struct HistoryFrame<'a> {
    /// Id of the frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    pub epoch: &'a Epoch,
    pub messages: Vec<HistoryEntry<'a>>,
    /// Oldest retained offset.
    pub first: Offset,
    /// Head offset of the log.
    pub head: Offset,
    /// `true` if the log has older messages.
    pub more: bool,
}

/// One message of a `history`.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEntry<'a> {
    pub offset: Offset,
    pub id: &'a str,
    pub from: FromField<'a>,
    /// Milliseconds since 1970.
    #[serde(rename = "sentAt")]
    pub sent_at: Timestamp,
    pub body: &'a RawValue,
}

impl<'a> MessageFrame<'a> {
    /// Creates the frame of an appended message.
    #[must_use]
    pub fn from_append(append: &'a AppendRequest, appended: &'a AppendOutcome) -> Self {
        Self {
            channel: &append.channel.name,
            epoch: Some(&appended.position.epoch),
            offset: Some(appended.position.offset),
            id: Some(append.id.as_str()),
            from: FromField::from_sender(&append.sender),
            sent_at: appended.sent_at,
            body: &append.body,
        }
    }

    /// Creates the frame of a log entry.
    #[must_use]
    pub fn from_entry(channel: &'a ChannelName, epoch: &'a Epoch, entry: &'a LogEntry) -> Self {
        Self {
            channel,
            epoch: Some(epoch),
            offset: Some(entry.offset),
            id: Some(entry.id.as_str()),
            from: FromField::from_sender(&entry.sender),
            sent_at: entry.sent_at,
            body: &entry.body,
        }
    }
}

impl<'a> FromField<'a> {
    /// Creates the `from` field of a sender.
    #[must_use]
    pub fn from_sender(sender: &'a MessageSender) -> Self {
        Self { user: sender.user.as_str(), role: sender.role }
    }
}

impl<'a> HistoryEntry<'a> {
    /// Creates the history entry of a log entry.
    #[must_use]
    pub fn from_entry(entry: &'a LogEntry) -> Self {
        Self {
            offset: entry.offset,
            id: entry.id.as_str(),
            from: FromField::from_sender(&entry.sender),
            sent_at: entry.sent_at,
            body: &entry.body,
        }
    }
}

impl EncodeFrame for MessageFrame<'_> {
    fn size_hint(&self) -> usize {
        self.body.get().len() + 384
    }
}

impl EncodeFrame for HistoryFrame<'_> {
    fn size_hint(&self) -> usize {
        256 + self.messages.iter().map(|entry| entry.body.get().len() + 160).sum::<usize>()
    }
}

impl EncodeFrame for AckFrame<'_> {}
