//! The frames that carry messages: `message`, its `ack`, and `history`.
//!
//! Invariant: a logged message has the same fields whether it comes live, in a resume or in a history. The structs
//! borrow, so that the hot path copies a body exactly once, into the frame.

use serde::Serialize;
use serde_json::value::RawValue;

use super::outgoing::{EncodeFrame, as_text};
use crate::channel::{ChannelName, Epoch, Offset};
use crate::identity::Role;
use crate::ports::{AppendOutcome, AppendRequest, LogEntry, MessageSender, Timestamp};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FromField<'a> {
    /// The user, or a service's name.
    pub user: &'a str,
    /// In which role.
    pub role: Role,
}

/// `message`: one message of a channel. `epoch` and `offset` are absent on ephemeral ones.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "message")]
pub struct MessageFrame<'a> {
    /// The channel, without its tenant.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// The log's incarnation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<&'a Epoch>,
    /// Its place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// The sender's id for it; ephemeral messages may have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Who wrote it.
    pub from: FromField<'a>,
    /// When, in milliseconds since 1970.
    #[serde(rename = "sentAt")]
    pub sent_at: Timestamp,
    /// Any JSON value, as the sender wrote it.
    pub body: &'a RawValue,
}

/// `ack` of a `send`: the message is durable and stands here. Ephemeral messages have neither place nor time.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "ack")]
pub struct AckFrame<'a> {
    /// The frame's id, or the one the server made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Where it was written.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// The log's incarnation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<&'a Epoch>,
    /// Its place in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// When it was first sent, in milliseconds since 1970.
    #[serde(rename = "sentAt", skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// `history`: a stretch of a channel, ascending.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "history")]
pub struct HistoryFrame<'a> {
    /// The frame's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The channel.
    #[serde(serialize_with = "as_text")]
    pub channel: &'a ChannelName,
    /// The log's incarnation.
    pub epoch: &'a Epoch,
    /// The entries.
    pub messages: Vec<HistoryEntry<'a>>,
    /// The oldest offset that the log still has.
    pub first: Offset,
    /// The last offset.
    pub head: Offset,
    /// Whether the log has entries before these.
    pub more: bool,
}

/// One entry of a `history`.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryEntry<'a> {
    /// Its place.
    pub offset: Offset,
    /// The sender's id for it.
    pub id: &'a str,
    /// Who wrote it.
    pub from: FromField<'a>,
    /// When, in milliseconds since 1970.
    #[serde(rename = "sentAt")]
    pub sent_at: Timestamp,
    /// Any JSON value.
    pub body: &'a RawValue,
}

impl<'a> MessageFrame<'a> {
    /// The frame of an append, once it has a place.
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

    /// The frame of a logged entry.
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
    /// The wire form of a sender.
    #[must_use]
    pub fn from_sender(sender: &'a MessageSender) -> Self {
        Self { user: sender.user.as_str(), role: sender.role }
    }
}

impl<'a> HistoryEntry<'a> {
    /// The wire form of an entry.
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
