//! The rows of the close table.
//!
//! Invariant: one row per cause. Reasons of 1000, 1001 and 1005 are API Gateway's (captures); of all others it is only
//! known that they occur, and the texts are ours.

/// Whether a client may connect again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// At once, with jitter: the server asked for it or the connection just ran out.
    Now,
    /// After a growing delay: whatever was wrong may last.
    Backoff,
    /// Not without a change: a new token, a user's decision, or a corrected client.
    No,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseRow {
    /// A short name for logs, metrics and documentation.
    pub name: &'static str,
    /// The close code the client sees, and `disconnectStatusCode`.
    pub code: u16,
    /// The close reason the client sees, and `disconnectReason`.
    pub reason: &'static str,
    /// Whether the server sends a close frame.
    pub sends_frame: bool,
    /// Whether the client may connect again by itself.
    pub reconnect: Reconnect,
    /// When it happens, for documentation.
    pub when: &'static str,
}

const fn sent(
    name: &'static str,
    code: u16,
    reason: &'static str,
    reconnect: Reconnect,
    when: &'static str,
) -> CloseRow {
    CloseRow { name, code, reason, sends_frame: true, reconnect, when }
}

const fn seen(
    name: &'static str,
    code: u16,
    reason: &'static str,
    reconnect: Reconnect,
    when: &'static str,
) -> CloseRow {
    CloseRow { name, code, reason, sends_frame: false, reconnect, when }
}

/// The code and reason of this row are placeholders: the client chooses both.
pub(super) static CLIENT: CloseRow =
    seen("client", 1000, "", Reconnect::No, "the client closed with a status; its own code and reason are reported");
pub(super) static CLIENT_WITHOUT_STATUS: CloseRow = seen(
    "client_without_status",
    1005,
    "Client-side close frame status not set",
    Reconnect::No,
    "the client closed without a status",
);
pub(super) static CONNECTION_LOST: CloseRow =
    seen("connection_lost", 1006, "Connection lost", Reconnect::Backoff, "the connection broke without a close frame");
pub(super) static IDLE: CloseRow =
    sent("idle", 1001, "Going away", Reconnect::Now, "no message in either direction for the idle time");
pub(super) static LIFETIME_REACHED: CloseRow =
    sent("lifetime_reached", 1001, "Going away", Reconnect::Now, "the connection reached its maximum lifetime");
pub(super) static DELETED: CloseRow =
    sent("deleted", 1000, "Connection Closed Normally", Reconnect::No, "a backend deleted the connection");
pub(super) static BINARY_FRAME: CloseRow =
    sent("binary_frame", 1003, "Binary frames are not supported", Reconnect::No, "the client sent a binary frame");
pub(super) static FRAME_TOO_BIG: CloseRow =
    sent("frame_too_big", 1009, "Frame too big", Reconnect::No, "the client sent a frame beyond the quota");
pub(super) static MESSAGE_TOO_BIG: CloseRow =
    sent("message_too_big", 1009, "Message too big", Reconnect::No, "the client sent a message beyond the quota");
pub(super) static PROTOCOL_ERROR: CloseRow =
    sent("protocol_error", 1002, "Protocol error", Reconnect::No, "the client broke the WebSocket protocol");
pub(super) static INVALID_UTF8: CloseRow =
    sent("invalid_utf8", 1007, "Text is not UTF-8", Reconnect::No, "the client sent text that is not UTF-8");
pub(super) static INVALID_DEFLATE: CloseRow = sent(
    "invalid_deflate",
    1007,
    "Compressed message is damaged",
    Reconnect::No,
    "the client sent a compressed message that does not inflate",
);
pub(super) static SLOW_CONSUMER: CloseRow = sent(
    "slow_consumer",
    1008,
    "Reading too slowly",
    Reconnect::Backoff,
    "the client did not read what was sent to it",
);
pub(super) static SERVICE_RESTART: CloseRow =
    sent("service_restart", 1012, "Service restart", Reconnect::Now, "the server stops; another one takes over");
pub(super) static INTERNAL: CloseRow =
    sent("internal", 1011, "Internal error", Reconnect::Backoff, "something failed in the server");
pub(super) static TOKEN_EXPIRED: CloseRow =
    sent("token_expired", 4401, "Token expired", Reconnect::No, "the token ran out; reconnect with a new one");
pub(super) static KICKED: CloseRow =
    sent("kicked", 4403, "Disconnected by an operator", Reconnect::No, "an operator or backend ended the connection");

/// Every row, for documentation.
pub static TABLE: [&CloseRow; 17] = [
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
