//! Server frames of `docs/PROTOCOL.md`, with the fields that a fault-injection client needs.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Head of a channel.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FramePosition {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// Frame from the server.
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
    /// Parses a frame; `None` for API Gateway's own errors, which have no `type`.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
