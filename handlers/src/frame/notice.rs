//! Notices of the server that answer no frame.

use serde::Serialize;

use super::Frame;

/// `reconnect`: this server is about to close the connection with 1012; another one takes over.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename = "reconnect", rename_all = "camelCase")]
pub struct Reconnect {
    /// Wait a random time up to this many milliseconds first, so that not everybody comes back at once.
    pub within_ms: u64,
}

impl Frame for Reconnect {}
