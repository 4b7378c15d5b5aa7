//! Periodic head check: compares the head of each followed channel's log with the offsets delivered on this pod.
//!
//! A message published right before its pod died, or during an outage of the subscription, may have no successor that
//! would reveal the loss. Channels with recent messages are checked every `head_check_interval`, all other channels
//! with local readers once per `full_head_check_interval`, and all channels at once after the subscription was
//! replaced. Cost in Redis: one read of a head per channel, [`CHANNELS_PER_READ`] per round trip.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use handlers::channel::Channel;
use handlers::ports::MessageLog;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::BusState;
use crate::hub::ChannelDelivery;

/// Channels checked in one round trip.
const CHANNELS_PER_READ: usize = 256;
/// Timeout of the log for one batch of heads.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of intervals for which a message counts as recent.
const RECENT_INTERVALS: u32 = 3;

/// Runs head checks until `stop` is cancelled.
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
    /// Channels of the current rotation that are still to be checked.
    remaining_channels: VecDeque<Channel>,
    /// Start of the current rotation.
    rotation_started_at: Option<Instant>,
    /// Set until a check of all channels has succeeded.
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

    /// Returns the channels to check in this interval, so that a rotation over all channels takes
    /// `full_head_check_interval`.
    fn next_rotation_batch(&mut self) -> Vec<Channel> {
        let settings = &self.shared.settings;
        if self.remaining_channels.is_empty()
            && self
                .rotation_started_at
                .is_none_or(|started_at| started_at.elapsed() >= settings.full_head_check_interval)
        {
            self.remaining_channels = self.hub.followed_channels(None).into();
            self.rotation_started_at = Some(Instant::now());
        }
        let started_at = self.rotation_started_at.unwrap_or_else(Instant::now);
        let intervals_left = settings.full_head_check_interval.saturating_sub(started_at.elapsed()).as_millis()
            / settings.head_check_interval.as_millis().max(1);
        let batch_size =
            self.remaining_channels.len().div_ceil(usize::try_from(intervals_left).unwrap_or(usize::MAX).max(1));
        self.remaining_channels.drain(..batch_size).collect()
    }

    /// Starts a backfill of the channels whose log is ahead. Returns `false` if the log is unavailable.
    async fn compare_heads(&self, channels: &[Channel]) -> bool {
        for batch in channels.chunks(CHANNELS_PER_READ) {
            let Ok(Ok(heads)) = tokio::time::timeout(HEAD_READ_TIMEOUT, self.log.heads(batch)).await else {
                return false;
            };
            for (channel, head) in batch.iter().zip(&heads) {
                if self.hub.observe_head(channel, head) {
                    self.shared.metrics.backfilled_channels.inc();
                }
            }
        }
        true
    }
}
