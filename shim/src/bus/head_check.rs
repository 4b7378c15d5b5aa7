//! The tail check: has a channel moved on without this pod hearing of it?
//!
//! What a pod published right before it died, and what was said while the subscription was away, may have no successor
//! that would show the hole. So the ends of logs are compared with what was passed on: of channels with recent traffic
//! every `tail`, of all others with readers here once a `rotation`, and of all at once after the subscription was replaced.
//! Cost in Redis: one read of an end for each channel compared, [`CHANNELS_PER_READ`] to a round trip.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use handlers::channel::Channel;
use handlers::ports::MessageLog;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::BusState;
use crate::hub::ChannelDelivery;

/// Channels compared in one round trip.
const CHANNELS_PER_READ: usize = 256;
/// How long the log may take for one batch.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Traffic is recent for this many intervals.
const RECENT_INTERVALS: u32 = 3;

/// Compares until `stop`.
pub(super) async fn run_head_check(
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    log: Arc<dyn MessageLog>,
    stop: CancellationToken,
) {
    let mut check = HeadChecker {
        remaining_channels: VecDeque::new(),
        rotation_started_at: None,
        full_check_pending: false,
        shared,
        hub,
        log,
    };
    tokio::select! {
        () = check.check_forever() => {}
        () = stop.cancelled() => {}
    }
}

struct HeadChecker {
    shared: Arc<BusState>,
    hub: ChannelDelivery,
    log: Arc<dyn MessageLog>,
    /// What is still to be compared in this turn of the rotation.
    remaining_channels: VecDeque<Channel>,
    /// When this turn began.
    rotation_started_at: Option<Instant>,
    /// Whether everything is to be compared as soon as the log answers.
    full_check_pending: bool,
}

impl HeadChecker {
    async fn check_forever(&mut self) {
        let shared = self.shared.clone();
        let mut interval = tokio::time::interval(shared.settings.head_check_interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = shared.resync_requested.notified() => self.full_check_pending = true,
            }
            if self.full_check_pending {
                self.full_check_pending = !self.compare_heads(&self.hub.followed_channels(None)).await;
            } else {
                let recent = self.hub.followed_channels(Some(shared.settings.head_check_interval * RECENT_INTERVALS));
                self.compare_heads(&recent).await;
                let others = self.next_rotation_batch();
                self.compare_heads(&others).await;
            }
        }
    }

    /// The share of all channels that is due in this interval.
    fn next_rotation_batch(&mut self) -> Vec<Channel> {
        let settings = &self.shared.settings;
        if self.remaining_channels.is_empty()
            && self.rotation_started_at.is_none_or(|begun| begun.elapsed() >= settings.full_head_check_interval)
        {
            self.remaining_channels = self.hub.followed_channels(None).into();
            self.rotation_started_at = Some(Instant::now());
        }
        let begun = self.rotation_started_at.unwrap_or_else(Instant::now);
        let left = settings.full_head_check_interval.saturating_sub(begun.elapsed()).as_millis()
            / settings.head_check_interval.as_millis().max(1);
        let share = self.remaining_channels.len().div_ceil(usize::try_from(left).unwrap_or(usize::MAX).max(1));
        self.remaining_channels.drain(..share).collect()
    }

    /// Fills what is behind; `false` when the log did not answer.
    async fn compare_heads(&self, channels: &[Channel]) -> bool {
        for batch in channels.chunks(CHANNELS_PER_READ) {
            let Ok(Ok(ends)) = tokio::time::timeout(HEAD_READ_TIMEOUT, self.log.heads(batch)).await else {
                return false;
            };
            for (channel, end) in batch.iter().zip(&ends) {
                if self.hub.observe_head(channel, end) {
                    self.shared.metrics.backfilled_channels.inc();
                }
            }
        }
        true
    }
}
