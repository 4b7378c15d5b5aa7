//! What one pod asks another about a connection of its, and what it answers.
//!
//! These are rare next to frames, so they are JSON: a field can be added without a new version, and a pod that does not
//! know an operation does not answer, which its caller sees as a timeout. `Debug` is for tests only: requests are never logged.

use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{CloseReason, Placement, Priority};
use serde::{Deserialize, Serialize};

/// A request; each names the connection that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum PeerOperation {
    /// Deliver the request's text.
    Deliver {
        /// The connection.
        connection_id: String,
        /// The lane.
        #[serde(with = "PriorityOnWire")]
        lane: Priority,
        /// The channel of the text's place in a log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
        /// That place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// `POST @connections`: the request's text.
    Post {
        /// The connection.
        connection_id: String,
    },
    /// `GET @connections`.
    Describe {
        /// The connection.
        connection_id: String,
    },
    /// `DELETE @connections`.
    Delete {
        /// The connection.
        connection_id: String,
    },
    /// Close for a reason of the application's.
    Close {
        /// The connection.
        connection_id: String,
        /// Why.
        #[serde(with = "CloseReasonOnWire")]
        reason: CloseReason,
    },
    /// `Delivery::hold`.
    Pause {
        /// The connection.
        connection_id: String,
        /// Which channels.
        channels: Vec<Channel>,
    },
    /// `Delivery::release`.
    Resume {
        /// The connection.
        connection_id: String,
        /// Which channel.
        channel: Channel,
        /// Up to where it was sent.
        through: Position,
    },
    /// `Delivery::detach_channels`.
    Detach {
        /// The connection.
        connection_id: String,
        /// Which channels.
        channels: Vec<Channel>,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub enum PeerReply {
    /// Done.
    Done,
    /// The connection is not open.
    Gone,
    /// Its outbox is full; nothing was sent.
    OutboxFull,
    /// The released channel is live.
    Live,
    /// The released channel has moved on to this offset.
    HeadAdvanced {
        /// Which.
        offset: Offset,
    },
    /// The connection's description.
    Described(WireDescription),
}

/// What `GET @connections` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireDescription {
    /// Milliseconds since 1970.
    pub connected_at: i64,
    /// Milliseconds since 1970.
    pub last_active_at: i64,
    /// The client's address.
    pub source_ip: String,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
}

/// The names of [`CloseReason`] between pods.
#[derive(Serialize, Deserialize)]
#[serde(remote = "CloseReason", rename_all = "snake_case")]
enum CloseReasonOnWire {
    Kicked,
    TokenExpired,
}

/// The names of [`Priority`] between pods.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Priority", rename_all = "snake_case")]
enum PriorityOnWire {
    Control,
    Direct,
    Broadcast,
    Ephemeral,
}

impl PeerOperation {
    /// The request to deliver a frame's text.
    #[must_use]
    pub fn deliver_to(to: String, priority: Priority, placement: Option<Placement>) -> Self {
        let (channel, position) = placement.map(|Placement { channel, position }| (channel, position)).unzip();
        Self::Deliver { connection_id: to, lane: priority, channel, position }
    }

    /// The connection that it is about.
    #[must_use]
    pub fn connection_id(&self) -> &str {
        match self {
            Self::Deliver { connection_id: to, .. } | Self::Post { connection_id: to } => to,
            Self::Describe { connection_id: of }
            | Self::Delete { connection_id: of }
            | Self::Close { connection_id: of, .. }
            | Self::Pause { connection_id: of, .. }
            | Self::Resume { connection_id: of, .. }
            | Self::Detach { connection_id: of, .. } => of,
        }
    }
}
