//! The messaging application's frames for events of the gateway.

use std::time::Duration;

use bytes::Bytes;
use handlers::channel::Offset;
use handlers::frame::{DegradedFrame, DegradedState, EncodeFrame as _, GapFrame, GapReason, ReconnectFrame};

use crate::connection::{ClientNotices, DroppedFrames, PeerLink};

/// `gap`, `reconnect` and `degraded` frames (`docs/PROTOCOL.md`).
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagingNotices;

impl ClientNotices for MessagingNotices {
    fn slow_reader(&self, shed: &DroppedFrames) -> Vec<Bytes> {
        let gap = |(channel, (from, to)): (&handlers::channel::Channel, &(u64, handlers::channel::Position))| {
            let (channel, from, epoch) = (&channel.name, Offset(*from), &to.epoch);
            GapFrame { channel, from, to: to.offset, epoch, reason: GapReason::Slow }.encode()
        };
        shed.channels.iter().map(gap).collect()
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
