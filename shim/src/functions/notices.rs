//! Notices of the messaging application to its clients.

use std::time::Duration;

use bytes::Bytes;
use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{DegradedFrame, DegradedState, EncodeFrame as _, GapFrame, GapReason, ReconnectFrame};

use crate::connection::{ClientNotices, DroppedFrames, PeerLink};

/// Encodes notices as `gap`, `reconnect` and `degraded` frames (`docs/PROTOCOL.md`).
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagingNotices;

impl ClientNotices for MessagingNotices {
    fn slow_consumer(&self, dropped: &DroppedFrames) -> Vec<Bytes> {
        let gap = |(channel, (from, to)): (&Channel, &(u64, Position))| {
            // Offset 0 is the position of a dropped `gap` before the first message of an epoch.
            let (channel, from, epoch) = (&channel.name, Offset((*from).max(1)), &to.epoch);
            GapFrame { channel, from, to: to.offset, epoch, reason: GapReason::Slow }.encode()
        };
        dropped.channels.iter().map(gap).collect()
    }

    fn reconnect(&self, within: Duration) -> Option<Bytes> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        Some(ReconnectFrame { within_ms }.encode())
    }

    fn degraded(&self, link: PeerLink) -> Option<Bytes> {
        let state = match link {
            PeerLink::Lost => DegradedState::Began,
            PeerLink::Restored => DegradedState::Ended,
        };
        Some(DegradedFrame { state }.encode())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use handlers::channel::{ChannelName, Epoch};
    use handlers::id::TenantId;

    use super::*;

    #[test]
    fn a_slow_consumer_gets_one_gap_for_each_channel() {
        let channel = ChannelName::parse("room:lobby").unwrap().in_tenant(TenantId::default_tenant());
        let to = Position { epoch: Epoch("e".into()), offset: Offset(9) };
        let dropped = DroppedFrames { ephemeral: 1, logged: 6, channels: BTreeMap::from([(channel, (4, to))]) };
        let expected = r#"{"type":"gap","channel":"room:lobby","from":4,"to":9,"epoch":"e","reason":"slow"}"#;
        assert_eq!(MessagingNotices.slow_consumer(&dropped), [expected]);
        assert!(MessagingNotices.slow_consumer(&DroppedFrames { ephemeral: 1, ..DroppedFrames::default() }).is_empty());
    }

    #[test]
    fn reconnect_and_degraded_notices_follow_the_protocol() {
        let reconnect = MessagingNotices.reconnect(Duration::from_millis(700)).unwrap();
        assert_eq!(reconnect, r#"{"type":"reconnect","withinMs":700}"#);
        let degraded = MessagingNotices.degraded(PeerLink::Restored).unwrap();
        assert_eq!(degraded, r#"{"type":"degraded","state":"ended"}"#);
    }
}
