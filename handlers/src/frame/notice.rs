//! Notices of the server that are not answers to a frame.

use serde::Serialize;

use super::EncodeFrame;

/// `reconnect`: this server is about to close the connection with 1012; the client reconnects to another one.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "reconnect", rename_all = "camelCase")]
pub struct ReconnectFrame {
    /// Upper bound of a random delay before reconnecting, in milliseconds, so that clients do not reconnect all at
    /// once.
    pub within_ms: u64,
}

impl EncodeFrame for ReconnectFrame {}

/// `degraded`: this server lost its connection to the other servers, or recovered it.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "degraded", rename_all = "camelCase")]
pub struct DegradedFrame {
    pub state: DegradedState,
}

/// State in a [`DegradedFrame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DegradedState {
    /// Messages from clients of other servers are delayed from now on, and frames may be answered `unavailable`.
    Began,
    /// The connection has recovered; delayed messages follow.
    Ended,
}

impl EncodeFrame for DegradedFrame {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_has_a_state() {
        assert_eq!(
            DegradedFrame { state: DegradedState::Began }.encode_text(),
            r#"{"type":"degraded","state":"began"}"#
        );
        assert_eq!(
            DegradedFrame { state: DegradedState::Ended }.encode_text(),
            r#"{"type":"degraded","state":"ended"}"#
        );
    }
}
