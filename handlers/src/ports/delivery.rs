//! The delivery port: sends encoded frames to audiences.

use async_trait::async_trait;
use bytes::Bytes;

use super::BoxError;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset, Position};
use crate::id::ConnectionId;

/// Priority of a frame in the outbox of a slow receiver. Frames of the last priority are dropped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Answers and notices of the server: acks, errors, reconnect notices.
    Control,
    /// Messages to one user or conversation, and messages sent by a resume.
    Direct,
    /// Messages to rooms, topics and everyone. They are logged, so dropped ones can be read later.
    Broadcast,
    /// Typing and presence: useless when late.
    Ephemeral,
}

impl Priority {
    /// Returns the priority of a channel's logged messages.
    #[must_use]
    pub const fn for_channel(name: &ChannelName) -> Self {
        match name {
            ChannelName::Conversation(_) => Self::Direct,
            ChannelName::Room(_) | ChannelName::Topic(_) | ChannelName::Everyone => Self::Broadcast,
        }
    }
}

/// Position of a logged message, with which an adapter keeps the order of a channel and detects missing offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub channel: Channel,
    pub position: Position,
}

/// An encoded frame with its delivery options.
#[derive(Debug, Clone)]
pub struct OutgoingFrame {
    /// Text of the frame (UTF-8 JSON), encoded once and shared by all receivers.
    pub frame: Bytes,
    pub priority: Priority,
    /// Position in a log; `None` for ephemeral frames and answers.
    pub placement: Option<Placement>,
}

/// Result of a delivery. A delivery never waits for the readers of a channel, role or user. A delivery to one
/// connection may wait a bounded time for space in its outbox, which limits a resume to the reading speed of its
/// client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The frame was accepted, with the number of receiving connections if the adapter can count them.
    Delivered(Option<u64>),
    /// The audience was a single connection that is not open. This is not an error.
    ConnectionGone,
}

/// Result of [`Delivery::resume_channel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeOutcome {
    /// Live messages are delivered from here on.
    Live,
    /// The head advanced to this offset: read up to it and call again.
    HeadAdvanced(Offset),
}

/// Reason for which the application closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Requested by an operator or backend.
    Kicked,
    /// The token has expired.
    TokenExpired,
}

/// An error of a [`Delivery`].
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The receivers are unreachable. They receive logged messages when they resume.
    #[error("delivery is unavailable")]
    Unavailable(#[source] BoxError),
    /// Any other failure.
    #[error("delivery ({adapter}) failed")]
    Backend {
        /// Name of the adapter.
        adapter: &'static str,
        /// Error of the underlying technology.
        #[source]
        source: BoxError,
    },
}

/// Sends frames to audiences.
///
/// *Order*: an adapter that owns the sockets delivers the placed messages of a channel in the order of their offsets,
/// each at most once per connection, and backfills missing offsets from the log. An adapter that posts through a
/// gateway may reorder and repeat; clients order by offset (`docs/PROTOCOL.md`). *Bounds*: a slow receiver first loses
/// ephemeral frames, then broadcasts, then its connection. It never blocks the sender.
///
/// ```
/// # use std::collections::BTreeSet;
/// # use std::sync::Arc;
/// # use handlers::audience::Audience;
/// # use handlers::id::{ConnectionId, TenantId, UserId};
/// # use handlers::identity::{Identity, Role};
/// # use handlers::memory::{ManualClock, MemoryConnections, MemoryDelivery};
/// # use handlers::ports::{
/// #     ClientConnection, ConnectionStore, Delivery, DeliveryOutcome, OutgoingFrame, Priority, Timestamp,
/// # };
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let now = Timestamp(1_800_000_000_000);
/// # let (tenant, user) = (TenantId::default_tenant(), UserId::parse("alice")?);
/// # let identity = Identity { tenant: tenant.clone(), user: user.clone(), role: Role::User, expires_at: None };
/// # let id = ConnectionId::parse("abcDEF-_1234567=")?;
/// # let record = ClientConnection { id: id.clone(), identity, connected_at: now, channels: BTreeSet::new() };
/// # let connections = Arc::new(MemoryConnections::new(Arc::new(ManualClock::new(now))));
/// # connections.put_connection(&record).await?;
/// let delivery = MemoryDelivery::new(connections);
/// let frame = r#"{"type":"pong","serverTime":1800000000000}"#.into();
/// let outgoing = OutgoingFrame { frame, priority: Priority::Control, placement: None };
///
/// let outcome = delivery.deliver(&Audience::User(tenant, user), outgoing.clone()).await?;
/// assert_eq!(outcome, DeliveryOutcome::Delivered(Some(1)));
/// assert_eq!(delivery.take_frames(&id), [outgoing.frame.clone()]);
///
/// let closed = Audience::Connection(ConnectionId::parse("closed")?);
/// assert_eq!(delivery.deliver(&closed, outgoing).await?, DeliveryOutcome::ConnectionGone);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Returns `false` if the adapter knows, from memory alone, that no connection can receive a frame for this
    /// audience. Callers use it to skip preparing notifications without receivers.
    fn may_reach(&self, _audience: &Audience) -> bool {
        true
    }

    /// Sends one frame to an audience.
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError>;

    /// Adds the connection to the readers of `channels` and pauses delivery of their placed messages to it until
    /// [`resume_channel`](Self::resume_channel) is called for each. Accepts channels that the connection reads by
    /// identity, too, which makes a resume atomic. Adapters that resolve audiences from the
    /// [`ConnectionStore`](super::ConnectionStore) do nothing.
    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError>;

    /// Resumes live delivery after everything up to and including `through` was sent to the connection: placed messages
    /// up to `through` are never delivered to it again, later ones are. If the channel is not paused, only the position
    /// is raised.
    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError>;

    /// Removes the connection from the readers of these rooms and topics.
    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError>;

    /// Closes a connection with the close code of `reason`. The gateway then invokes `$disconnect`.
    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError>;
}
