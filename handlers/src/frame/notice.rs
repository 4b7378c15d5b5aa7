//! Notices of the server that answer no frame.

use serde::Serialize;

use super::EncodeFrame;

/// `reconnect`: this server is about to close the connection with 1012; another one takes over.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "reconnect", rename_all = "camelCase")]
pub struct ReconnectFrame {
    /// Wait a random time up to this many milliseconds first, so that not everybody comes back at once.
    pub within_ms: u64,
}

impl EncodeFrame for ReconnectFrame {}

/// `degraded`: this server lost its way to the others, or has it again.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "degraded", rename_all = "camelCase")]
pub struct DegradedFrame {
    /// Which of the two.
    pub state: DegradedState,
}

/// The state in [`DegradedFrame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DegradedState {
    /// Messages of clients of other servers are late from here on, and what is sent may be answered `unavailable`.
    Began,
    /// The way is back; what was late follows.
    Ended,
}

impl EncodeFrame for DegradedFrame {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degraded_says_which_way_it_goes() {
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
