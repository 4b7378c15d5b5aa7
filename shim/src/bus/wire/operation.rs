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
pub enum Operation {
    /// Deliver the request's text.
    Deliver {
        /// The connection.
        to: String,
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
        to: String,
    },
    /// `GET @connections`.
    Describe {
        /// The connection.
        of: String,
    },
    /// `DELETE @connections`.
    Delete {
        /// The connection.
        of: String,
    },
    /// Close for a reason of the application's.
    Close {
        /// The connection.
        of: String,
        /// Why.
        #[serde(with = "CloseReasonOnWire")]
        reason: CloseReason,
    },
    /// `Delivery::hold`.
    Hold {
        /// The connection.
        of: String,
        /// Which channels.
        channels: Vec<Channel>,
    },
    /// `Delivery::release`.
    Release {
        /// The connection.
        of: String,
        /// Which channel.
        channel: Channel,
        /// Up to where it was sent.
        through: Position,
    },
    /// `Delivery::detach`.
    Detach {
        /// The connection.
        of: String,
        /// Which channels.
        channels: Vec<Channel>,
    },
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "was", rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Done,
    /// The connection is not open.
    Gone,
    /// Its outbox is full; nothing was sent.
    NoRoom,
    /// The released channel is live.
    Live,
    /// The released channel has moved on to this offset.
    Behind {
        /// Which.
        offset: Offset,
    },
    /// The connection's description.
    Described(Described),
}

/// What `GET @connections` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
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

impl Operation {
    /// The request to deliver a frame's text.
    #[must_use]
    pub fn deliver(to: String, priority: Priority, placement: Option<Placement>) -> Self {
        let (channel, position) = placement.map(|Placement { channel, position }| (channel, position)).unzip();
        Self::Deliver { to, lane: priority, channel, position }
    }

    /// The connection that it is about.
    #[must_use]
    pub fn connection(&self) -> &str {
        match self {
            Self::Deliver { to, .. } | Self::Post { to } => to,
            Self::Describe { of }
            | Self::Delete { of }
            | Self::Close { of, .. }
            | Self::Hold { of, .. }
            | Self::Release { of, .. }
            | Self::Detach { of, .. } => of,
        }
    }
}
