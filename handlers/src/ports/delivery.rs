//! Delivery: handing bytes to an audience.

use async_trait::async_trait;
use bytes::Bytes;

use super::BoxError;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset, Position};
use crate::id::ConnectionId;

/// How a frame stands in line when a receiver cannot keep up: the last lane is shed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Answers and notices of the server: acks, errors, reconnect hints.
    Control,
    /// Messages to one user or conversation, and what a resume sends.
    Direct,
    /// Messages to rooms, topics and everyone. They are in the log, so what was shed can be fetched.
    Broadcast,
    /// Typing and presence: worthless when late.
    Ephemeral,
}

impl Priority {
    /// The lane of a channel's logged messages.
    #[must_use]
    pub const fn for_channel(name: &ChannelName) -> Self {
        match name {
            ChannelName::Conversation(_) => Self::Direct,
            ChannelName::Room(_) | ChannelName::Topic(_) | ChannelName::Everyone => Self::Broadcast,
        }
    }
}

/// Where a logged message stands, so that a deliverer can keep a channel's order and notice a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The channel.
    pub channel: Channel,
    /// Epoch and offset.
    pub position: Position,
}

/// A frame on its way out.
#[derive(Debug, Clone)]
pub struct OutgoingFrame {
    /// The frame's text (UTF-8 JSON), encoded once and shared by all receivers.
    pub frame: Bytes,
    /// Its lane.
    pub priority: Priority,
    /// Its place in a log; `None` for ephemeral frames and answers.
    pub placement: Option<Placement>,
}

/// What a delivery knows when it returns. It never waits for the readers of a channel, role or user; a delivery to one
/// connection may wait a bounded time for room, which is how a resume goes no faster than its client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// Handed on, to this many connections where the adapter can count them.
    Delivered(Option<u64>),
    /// The audience was one connection and that is not open: an answer, not a failure.
    ConnectionGone,
}

/// What [`Delivery::resume_channel`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// Live messages flow from here.
    Live,
    /// The channel has moved on to this offset meanwhile: read up to there and release again.
    HeadAdvanced(Offset),
}

/// Why the application ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// An operator or backend asked for it.
    Kicked,
    /// The token has run out.
    TokenExpired,
}

/// Why a delivery did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The way to the receivers is down. What is in the log reaches them when they resume.
    #[error("delivery is unavailable")]
    Unavailable(#[source] BoxError),
    /// Anything else.
    #[error("delivery ({adapter}) failed")]
    Backend {
        /// Which adapter.
        adapter: &'static str,
        /// The technology's error.
        #[source]
        source: BoxError,
    },
}

/// Hands frames to audiences.
///
/// *Order*: an adapter that owns the sockets passes the placed messages of a channel on in the order of their offsets,
/// each at most once to a connection, and fills a hole from the log. An adapter that posts through a gateway may reorder
/// and repeat; clients order by offset (`docs/PROTOCOL.md`). *Bounds*: a receiver that does not keep up loses ephemeral
/// frames first, then broadcasts, then its connection; the sender is never blocked by it.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Whether a frame for this audience may reach anyone at all; `false` only where that is certain, at the cost of a look
    /// into memory. It spares hints that nobody would hear what they cost to prepare.
    fn may_reach(&self, _audience: &Audience) -> bool {
        true
    }

    /// Hands one frame to an audience.
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError>;

    /// From now on the connection counts among the readers of `channels`, but their placed messages are withheld from it
    /// until each is released. Works for channels that it belongs to by identity as well: that is what makes a resume
    /// atomic. An adapter that resolves audiences from the [`ConnectionStore`](super::ConnectionStore) has nothing to do.
    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError>;

    /// Ends a hold after everything up to and including `through` was handed to the connection: placed messages up to
    /// `through` are never passed to it again, later ones are. Without a hold it only raises that mark.
    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError>;

    /// The connection no longer counts among the readers of these rooms and topics.
    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError>;

    /// Ends a connection with the close code of `reason`; its `$disconnect` follows on its own.
    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError>;
}
