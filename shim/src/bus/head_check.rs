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
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::metrics::BusMetrics;
use crate::hub::ChannelDelivery;

/// Channels checked in one round trip.
const CHANNELS_PER_READ: usize = 256;
/// Timeout of the log for one batch of heads.
const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of intervals for which a message counts as recent.
const RECENT_INTERVALS: u32 = 3;

/// Signal for a head check of all channels, sent after this pod may have missed messages.
#[derive(Default)]
pub(super) struct ResyncSignal(Notify);

/// Task that runs the head checks.
pub(super) struct HeadChecker {
    hub: ChannelDelivery,
    log: Arc<dyn MessageLog>,
    resync: Arc<ResyncSignal>,
    metrics: Arc<BusMetrics>,
    check_interval: Duration,
    rotation: ChannelRotation,
    /// Set until a check of all channels has succeeded.
    full_check_pending: bool,
}

/// Distributes the checks of all channels over `full_check_interval`.
struct ChannelRotation {
    full_check_interval: Duration,
    /// Channels of the current rotation that are still to be checked.
    remaining_channels: VecDeque<Channel>,
    /// Start of the current rotation.
    started_at: Option<Instant>,
}

impl ResyncSignal {
    /// Requests a check. Requests during a check are merged into one further check.
    pub(super) fn request_check(&self) {
        self.0.notify_one();
    }

    async fn check_requested(&self) {
        self.0.notified().await;
    }
}

impl HeadChecker {
    /// Creates the task. Channels with recent messages are checked every `check_interval`, all others once per
    /// `full_check_interval`.
    pub(super) const fn new(
        hub: ChannelDelivery,
        log: Arc<dyn MessageLog>,
        resync: Arc<ResyncSignal>,
        check_interval: Duration,
        full_check_interval: Duration,
        metrics: Arc<BusMetrics>,
    ) -> Self {
        let rotation = ChannelRotation { full_check_interval, remaining_channels: VecDeque::new(), started_at: None };
        Self { hub, log, resync, metrics, check_interval, rotation, full_check_pending: false }
    }

    /// Runs head checks until `stop` is cancelled.
    pub(super) async fn run_head_check(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.check_forever() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn check_forever(&mut self) {
        let mut interval = tokio::time::interval(self.check_interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = self.resync.check_requested() => self.full_check_pending = true,
            }
            if self.full_check_pending {
                self.full_check_pending = !self.compare_heads(&self.hub.followed_channels(None)).await;
            } else {
                let recent = self.hub.followed_channels(Some(self.check_interval * RECENT_INTERVALS));
                self.compare_heads(&recent).await;
                let others = self.rotation.next_batch(self.check_interval, || self.hub.followed_channels(None));
                self.compare_heads(&others).await;
            }
        }
    }

    /// Starts a backfill of the channels whose log is ahead. Returns `false` if the log is unavailable.
    async fn compare_heads(&self, channels: &[Channel]) -> bool {
        for batch in channels.chunks(CHANNELS_PER_READ) {
            let Ok(Ok(heads)) = tokio::time::timeout(HEAD_READ_TIMEOUT, self.log.heads(batch)).await else {
                return false;
            };
            for (channel, head) in batch.iter().zip(&heads) {
                if self.hub.observe_head(channel, head) {
                    self.metrics.backfilled_channels.inc();
                }
            }
        }
        true
    }
}

impl ChannelRotation {
    /// Returns the channels to check in this interval, so that a rotation over all channels takes
    /// `full_check_interval`.
    fn next_batch(&mut self, check_interval: Duration, all_channels: impl FnOnce() -> Vec<Channel>) -> Vec<Channel> {
        if self.remaining_channels.is_empty()
            && self.started_at.is_none_or(|started_at| started_at.elapsed() >= self.full_check_interval)
        {
            self.remaining_channels = all_channels().into();
            self.started_at = Some(Instant::now());
        }
        let started_at = self.started_at.unwrap_or_else(Instant::now);
        let intervals_left = self.full_check_interval.saturating_sub(started_at.elapsed()).as_millis()
            / check_interval.as_millis().max(1);
        let batch_size =
            self.remaining_channels.len().div_ceil(usize::try_from(intervals_left).unwrap_or(usize::MAX).max(1));
        self.remaining_channels.drain(..batch_size).collect()
    }
}
