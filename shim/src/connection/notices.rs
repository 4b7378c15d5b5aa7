//! Frames that the application sends to clients when the gateway drops messages, drains, or loses the other pods.

use std::time::Duration;

use bytes::Bytes;

use super::DroppedFrames;

/// Whether this pod reaches the other pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLink {
    /// The link was lost.
    Lost,
    /// The link works again.
    Restored,
}

/// What an application tells its clients about events of the gateway, in its own frames. An API whose functions are not
/// ours has none: its clients do not understand such frames.
pub trait ClientNotices: Send + Sync {
    /// Returns the frames that tell a client which messages it was not sent because it reads too slowly.
    fn slow_reader(&self, shed: &DroppedFrames) -> Vec<Bytes>;

    /// Returns the frame that asks a client to reconnect within this time, sent before the connection is closed with 1012.
    fn reconnect(&self, within: Duration) -> Option<Bytes>;

    /// Returns the frame that reports the state of the link to the other pods.
    fn degraded(&self, link: PeerLink) -> Option<Bytes>;
}
