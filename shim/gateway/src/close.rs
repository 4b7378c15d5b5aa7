//! Every way a connection ends, in one table.
//!
//! ```text
//! cause ─┬─ close frame to the client (code, reason), or none
//!        ├─ disconnectStatusCode, disconnectReason of the one $disconnect event
//!        └─ whether the client may reconnect by itself
//! ```
//! Invariant: a connection has exactly one cause, and server, client library and documentation read this table only.
//! API Gateway's codes and texts stand where they are known; a reason is at most 123 bytes (RFC 6455 section 5.5).

mod table;

pub use table::{CLOSE_TABLE, CloseRow, ReconnectPolicy};

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseCause {
    /// The client sent a close frame with a status.
    Client {
        /// Its code.
        code: u16,
        /// Its reason, possibly empty.
        reason: String,
    },
    /// The client sent a close frame without a status.
    ClientWithoutStatus,
    /// The connection broke without a close frame.
    ConnectionLost,
    /// No message for the idle time.
    Idle,
    /// The maximum lifetime has passed.
    LifetimeReached,
    /// `DELETE @connections`.
    Deleted,
    /// A binary frame (FR-1).
    BinaryFrame,
    /// A frame beyond the quota (FR-2).
    FrameTooBig,
    /// A message beyond the quota (FR-2).
    MessageTooBig,
    /// The client broke RFC 6455 (FR-11).
    ProtocolError,
    /// A text frame that is not UTF-8 (FR-11).
    InvalidUtf8,
    /// A compressed message that does not inflate (RFC 7692).
    InvalidDeflate,
    /// The client does not read fast enough.
    SlowConsumer,
    /// This server stops or restarts; another one takes over.
    ServiceRestart,
    /// Something failed in this server.
    Internal,
    /// The application: the token ran out.
    TokenExpired,
    /// The application: an operator or backend ended it.
    Kicked,
}

impl CloseCause {
    /// The row of the table that describes this cause.
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

    /// The close frame to send: code and reason. `None` when the client closed first (its frame is echoed by the
    /// protocol) or there is nobody to send to.
    #[must_use]
    pub const fn close_frame(&self) -> Option<(u16, &'static str)> {
        let row = self.table_row();
        if row.sends_frame { Some((row.code, row.reason)) } else { None }
    }

    /// `disconnectStatusCode` and `disconnectReason` of the `$disconnect` event.
    #[must_use]
    pub fn disconnect_status(&self) -> (u16, &str) {
        match self {
            Self::Client { code, reason } => (*code, reason),
            _ => (self.table_row().code, self.table_row().reason),
        }
    }

    /// A short name for logs and metrics; never chosen by the client.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.table_row().name
    }

    /// Whether the client may connect again by itself.
    #[must_use]
    pub const fn reconnect_policy(&self) -> ReconnectPolicy {
        self.table_row().reconnect
    }
}

#[cfg(test)]
mod tests;
