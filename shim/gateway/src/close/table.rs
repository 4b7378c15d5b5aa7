//! The rows of the close table.
//!
//! There is one row per cause. The reasons of 1000, 1001 and 1005 are API Gateway's (captures). The other codes are
//! known to occur on API Gateway, but not their reasons; those texts are chosen here.

/// Whether and when a client may reconnect automatically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconnectPolicy {
    /// Immediately, with jitter: the server requested it, or the connection reached a time limit.
    Immediate,
    /// After an increasing delay: the cause may persist.
    Backoff,
    /// Not without a new token, a user's decision or a corrected client.
    Never,
}

/// A row of the close table.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseRow {
    /// Name in logs, metrics and documentation.
    pub name: &'static str,
    /// Close code that the client receives, and `disconnectStatusCode`.
    pub code: u16,
    /// Close reason that the client receives, and `disconnectReason`.
    pub reason: &'static str,
    /// Whether the server sends a close frame.
    pub sends_frame: bool,
    /// Whether and when the client may reconnect automatically.
    pub reconnect: ReconnectPolicy,
    /// Description of the cause, for documentation.
    pub description: &'static str,
}

const fn row_with_frame(
    name: &'static str,
    code: u16,
    reason: &'static str,
    reconnect: ReconnectPolicy,
    description: &'static str,
) -> CloseRow {
    CloseRow { name, code, reason, sends_frame: true, reconnect, description }
}

const fn row_without_frame(
    name: &'static str,
    code: u16,
    reason: &'static str,
    reconnect: ReconnectPolicy,
    description: &'static str,
) -> CloseRow {
    CloseRow { name, code, reason, sends_frame: false, reconnect, description }
}

/// Code and reason of this row are placeholders, because the client chooses both.
pub(super) static CLIENT: CloseRow = row_without_frame(
    "client",
    1000,
    "",
    ReconnectPolicy::Never,
    "the client closed with a status; `$disconnect` receives its code and reason",
);
pub(super) static CLIENT_WITHOUT_STATUS: CloseRow = row_without_frame(
    "client_without_status",
    1005,
    "Client-side close frame status not set",
    ReconnectPolicy::Never,
    "the client closed without a status",
);
pub(super) static CONNECTION_LOST: CloseRow = row_without_frame(
    "connection_lost",
    1006,
    "Connection lost",
    ReconnectPolicy::Backoff,
    "the connection was lost without a close frame",
);
pub(super) static IDLE: CloseRow = row_with_frame(
    "idle",
    1001,
    "Going away",
    ReconnectPolicy::Immediate,
    "no message in either direction for the idle timeout",
);
pub(super) static LIFETIME_REACHED: CloseRow = row_with_frame(
    "lifetime_reached",
    1001,
    "Going away",
    ReconnectPolicy::Immediate,
    "the connection reached its maximum lifetime",
);
pub(super) static DELETED: CloseRow = row_with_frame(
    "deleted",
    1000,
    "Connection Closed Normally",
    ReconnectPolicy::Never,
    "a backend deleted the connection",
);
pub(super) static BINARY_FRAME: CloseRow = row_with_frame(
    "binary_frame",
    1003,
    "Binary frames are not supported",
    ReconnectPolicy::Never,
    "the client sent a binary frame",
);
pub(super) static FRAME_TOO_BIG: CloseRow = row_with_frame(
    "frame_too_big",
    1009,
    "Frame too big",
    ReconnectPolicy::Never,
    "the client sent a frame larger than the quota",
);
pub(super) static MESSAGE_TOO_BIG: CloseRow = row_with_frame(
    "message_too_big",
    1009,
    "Message too big",
    ReconnectPolicy::Never,
    "the client sent a message larger than the quota",
);
pub(super) static PROTOCOL_ERROR: CloseRow = row_with_frame(
    "protocol_error",
    1002,
    "Protocol error",
    ReconnectPolicy::Never,
    "the client violated the WebSocket protocol",
);
pub(super) static INVALID_UTF8: CloseRow = row_with_frame(
    "invalid_utf8",
    1007,
    "Text is not UTF-8",
    ReconnectPolicy::Never,
    "the client sent text that is not UTF-8",
);
pub(super) static INVALID_DEFLATE: CloseRow = row_with_frame(
    "invalid_deflate",
    1007,
    "Compressed message is damaged",
    ReconnectPolicy::Never,
    "the client sent a compressed message that cannot be decompressed",
);
pub(super) static SLOW_CONSUMER: CloseRow = row_with_frame(
    "slow_consumer",
    1008,
    "Reading too slowly",
    ReconnectPolicy::Backoff,
    "the client did not read fast enough",
);
pub(super) static SERVICE_RESTART: CloseRow = row_with_frame(
    "service_restart",
    1012,
    "Service restart",
    ReconnectPolicy::Immediate,
    "the server is shutting down; another one accepts the reconnect",
);
pub(super) static INTERNAL: CloseRow =
    row_with_frame("internal", 1011, "Internal error", ReconnectPolicy::Backoff, "internal server error");
pub(super) static TOKEN_EXPIRED: CloseRow = row_with_frame(
    "token_expired",
    4401,
    "Token expired",
    ReconnectPolicy::Never,
    "the token expired; reconnect with a new one",
);
pub(super) static KICKED: CloseRow = row_with_frame(
    "kicked",
    4403,
    "Disconnected by an operator",
    ReconnectPolicy::Never,
    "an operator or backend closed the connection",
);

/// All rows, for documentation.
pub static CLOSE_TABLE: [&CloseRow; 17] = [
    &CLIENT,
    &CLIENT_WITHOUT_STATUS,
    &CONNECTION_LOST,
    &IDLE,
    &LIFETIME_REACHED,
    &DELETED,
    &BINARY_FRAME,
    &FRAME_TOO_BIG,
    &MESSAGE_TOO_BIG,
    &PROTOCOL_ERROR,
    &INVALID_UTF8,
    &INVALID_DEFLATE,
    &SLOW_CONSUMER,
    &SERVICE_RESTART,
    &INTERNAL,
    &TOKEN_EXPIRED,
    &KICKED,
];
