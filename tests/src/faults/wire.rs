//! The frames of `docs/PROTOCOL.md` as far as a client that counts needs them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Where a channel's log ends.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FramePosition {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// What the server says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub(super) enum ServerFrame {
    Welcome {
        connection: String,
    },
    Message {
        channel: String,
        epoch: Option<String>,
        offset: Option<u64>,
        id: Option<String>,
    },
    Ack {
        id: String,
        channel: Option<String>,
        epoch: Option<String>,
        offset: Option<u64>,
    },
    Resumed {
        channels: BTreeMap<String, FramePosition>,
    },
    Gap {
        channel: String,
        epoch: String,
        from: u64,
        to: u64,
        reason: String,
    },
    Degraded {
        state: String,
    },
    Reconnect {
        #[serde(rename = "withinMs")]
        within_ms: u64,
    },
    Error {
        code: String,
        id: Option<String>,
    },
    #[serde(other)]
    Other,
}

impl ServerFrame {
    /// Reads a frame; `None` for API Gateway's own errors, which have no `type`.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
