//! Operations that a pod requests from the owner of a connection, and their results.
//!
//! Requests are rare compared with frames, so they are encoded as JSON: a field can be added without a new version of
//! the format. A pod does not reply to an operation that it does not know, which its caller sees as a timeout. `Debug`
//! is for tests only: requests are never logged.

use handlers::channel::{Channel, Offset, Position};
use handlers::ports::{CloseReason, Placement, Priority};
use serde::{Deserialize, Serialize};

/// An operation on one connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum PeerOperation {
    /// Sends the request's text.
    Deliver {
        /// Id of the connection.
        connection_id: String,
        /// Priority in the outbox.
        #[serde(with = "WirePriority")]
        priority: Priority,
        /// Channel of the message, if a log has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<Channel>,
        /// Position of the message in that channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
    },
    /// `POST @connections`: sends the request's text.
    Post {
        /// Id of the connection.
        connection_id: String,
    },
    /// `GET @connections`.
    Describe {
        /// Id of the connection.
        connection_id: String,
    },
    /// `DELETE @connections`.
    Delete {
        /// Id of the connection.
        connection_id: String,
    },
    /// Closes the connection on behalf of the application.
    Close {
        /// Id of the connection.
        connection_id: String,
        /// Determines the close code.
        #[serde(with = "WireCloseReason")]
        reason: CloseReason,
    },
    /// `Delivery::pause_channels`.
    Pause {
        /// Id of the connection.
        connection_id: String,
        /// Channels to pause or detach.
        channels: Vec<Channel>,
    },
    /// `Delivery::resume_channel`.
    Resume {
        /// Id of the connection.
        connection_id: String,
        /// Channel to resume.
        channel: Channel,
        /// Position up to which the log was sent to the client.
        through: Position,
    },
    /// `Delivery::detach_channels`.
    Detach {
        /// Id of the connection.
        connection_id: String,
        /// Channels to pause or detach.
        channels: Vec<Channel>,
    },
}

/// Result of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum PeerReply {
    /// The operation was executed.
    Done,
    /// The connection is not open.
    Gone,
    /// The outbox is full; nothing was sent.
    OutboxFull,
    /// The resumed channel is live.
    Live,
    /// Later messages were delivered; the channel stays paused.
    HeadAdvanced {
        /// Offset of the last delivered message.
        offset: Offset,
    },
    /// Description of the connection.
    Described(WireDescription),
}

/// Result of `GET @connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireDescription {
    /// Time of the handshake, in milliseconds since 1970.
    pub connected_at: i64,
    /// Time of the last message in either direction, in milliseconds since 1970.
    pub last_active_at: i64,
    /// The client's IP address.
    pub source_ip: String,
    /// The client's `User-Agent` header.
    pub user_agent: Option<String>,
}

/// JSON names of [`CloseReason`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "CloseReason", rename_all = "snake_case")]
enum WireCloseReason {
    Kicked,
    TokenExpired,
}

/// JSON names of [`Priority`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Priority", rename_all = "snake_case")]
enum WirePriority {
    Control,
    Direct,
    Broadcast,
    Ephemeral,
}

impl PeerOperation {
    /// Creates the operation that delivers a frame's text.
    #[must_use]
    pub fn deliver_to(connection_id: String, priority: Priority, placement: Option<Placement>) -> Self {
        let (channel, position) = placement.map(|Placement { channel, position }| (channel, position)).unzip();
        Self::Deliver { connection_id, priority, channel, position }
    }

    /// Returns the id of the connection.
    #[must_use]
    pub fn connection_id(&self) -> &str {
        match self {
            Self::Deliver { connection_id, .. }
            | Self::Post { connection_id }
            | Self::Describe { connection_id }
            | Self::Delete { connection_id }
            | Self::Close { connection_id, .. }
            | Self::Pause { connection_id, .. }
            | Self::Resume { connection_id, .. }
            | Self::Detach { connection_id, .. } => connection_id,
        }
    }
}
