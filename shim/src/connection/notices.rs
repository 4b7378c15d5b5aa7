//! Port for the notices that an application sends to clients: dropped messages, drain, lost link to the other pods.

use std::time::Duration;

use bytes::Bytes;

use super::DroppedFrames;

/// State of this pod's link to the other pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerLink {
    /// The link was lost.
    Lost,
    /// The link works again.
    Restored,
}

/// Encodes notices about events of the gateway in the application's own frame format. APIs with external functions have
/// no implementation, because their clients do not know the format.
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use shim::connection::{ClientNotices, DroppedFrames, PeerLink};
///
/// struct PlainText;
///
/// impl ClientNotices for PlainText {
///     fn slow_consumer(&self, dropped: &DroppedFrames) -> Vec<Bytes> {
///         vec![format!("dropped {} messages", dropped.logged).into()]
///     }
///
///     fn reconnect(&self, within: Duration) -> Option<Bytes> {
///         Some(format!("reconnect within {} ms", within.as_millis()).into())
///     }
///
///     fn degraded(&self, _: PeerLink) -> Option<Bytes> {
///         None // this application sends no frame
///     }
/// }
///
/// assert_eq!(PlainText.reconnect(Duration::from_secs(1)).unwrap(), "reconnect within 1000 ms");
/// ```
pub trait ClientNotices: Send + Sync {
    /// Returns the frames that report the messages dropped because the client reads too slowly.
    fn slow_consumer(&self, dropped: &DroppedFrames) -> Vec<Bytes>;

    /// Returns the frame that asks a client to reconnect within `within`, sent before the connection is closed with
    /// 1012.
    fn reconnect(&self, within: Duration) -> Option<Bytes>;

    /// Returns the frame that reports the state of the link to the other pods.
    fn degraded(&self, link: PeerLink) -> Option<Bytes>;
}
