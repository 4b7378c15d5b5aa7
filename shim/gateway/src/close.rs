//! Close causes of connections, with their close frames and `$disconnect` events, in one table.
//!
//! ```text
//! cause ─┬─ close frame to the client (code, reason), or none
//!        ├─ disconnectStatusCode, disconnectReason of the one $disconnect event
//!        └─ whether the client may reconnect automatically
//! ```
//! A connection has exactly one close cause. Server, client library and documentation use this table. Codes and reasons
//! are API Gateway's where they are known; a reason has at most 123 bytes (RFC 6455 section 5.5).

mod table;

pub use table::{CLOSE_TABLE, CloseRow, ReconnectPolicy};

/// Cause of a connection's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseCause {
    /// The client sent a close frame with a status.
    Client {
        code: u16,
        /// The reason, possibly empty.
        reason: String,
    },
    /// The client sent a close frame without a status.
    ClientWithoutStatus,
    /// The connection was lost without a close frame.
    ConnectionLost,
    /// No message in either direction for the idle timeout.
    Idle,
    /// The connection reached its maximum lifetime.
    LifetimeReached,
    /// `DELETE @connections`.
    Deleted,
    /// The client sent a binary frame (FR-1).
    BinaryFrame,
    /// The client sent a frame larger than the quota (FR-2).
    FrameTooBig,
    /// The client sent a message larger than the quota (FR-2).
    MessageTooBig,
    /// The client violated RFC 6455 (FR-11).
    ProtocolError,
    /// The client sent text that is not UTF-8 (FR-11).
    InvalidUtf8,
    /// The client sent a compressed message that cannot be decompressed (RFC 7692).
    InvalidDeflate,
    /// The client does not read fast enough.
    SlowConsumer,
    /// The server is shutting down; another one accepts the reconnect.
    ServiceRestart,
    /// Internal error of the server.
    Internal,
    /// The token expired (application).
    TokenExpired,
    /// An operator or backend closed the connection (application).
    Kicked,
}

impl CloseCause {
    /// Returns the table row of this cause.
    #[must_use]
    pub const fn table_row(&self) -> &'static CloseRow {
        match self {
            Self::Client { .. } => &table::CLIENT,
            Self::ClientWithoutStatus => &table::CLIENT_WITHOUT_STATUS,
            Self::ConnectionLost => &table::CONNECTION_LOST,
            Self::Idle => &table::IDLE,
            Self::LifetimeReached => &table::LIFETIME_REACHED,
            Self::Deleted => &table::DELETED,
            Self::BinaryFrame => &table::BINARY_FRAME,
            Self::FrameTooBig => &table::FRAME_TOO_BIG,
            Self::MessageTooBig => &table::MESSAGE_TOO_BIG,
            Self::ProtocolError => &table::PROTOCOL_ERROR,
            Self::InvalidUtf8 => &table::INVALID_UTF8,
            Self::InvalidDeflate => &table::INVALID_DEFLATE,
            Self::SlowConsumer => &table::SLOW_CONSUMER,
            Self::ServiceRestart => &table::SERVICE_RESTART,
            Self::Internal => &table::INTERNAL,
            Self::TokenExpired => &table::TOKEN_EXPIRED,
            Self::Kicked => &table::KICKED,
        }
    }

    /// Returns code and reason of the close frame to send. `None` when the client closed first (the protocol echoes its
    /// frame) or the connection is lost.
    #[must_use]
    pub const fn close_frame(&self) -> Option<(u16, &'static str)> {
        let row = self.table_row();
        if row.sends_frame { Some((row.code, row.reason)) } else { None }
    }

    /// Returns `disconnectStatusCode` and `disconnectReason` of the `$disconnect` event.
    #[must_use]
    pub fn disconnect_status(&self) -> (u16, &str) {
        match self {
            Self::Client { code, reason } => (*code, reason),
            _ => (self.table_row().code, self.table_row().reason),
        }
    }

    /// Returns the name for logs and metrics, from a closed set.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.table_row().name
    }

    /// Returns whether and when the client may reconnect automatically.
    #[must_use]
    pub const fn reconnect_policy(&self) -> ReconnectPolicy {
        self.table_row().reconnect
    }
}

#[cfg(test)]
mod tests;
