//! The tail check: has a channel moved on without this pod hearing of it?
//!
//! What a pod published right before it died, and what was said while the subscription was away, may have no successor
//! that would show the hole. So the ends of logs are compared with what was passed on: of channels with recent traffic
//! every `tail`, of all others with readers here once a `rotation`, and of all at once after the subscription was replaced.
//! Cost in Redis: one read of an end for each channel compared, [`BATCH`] to a round trip.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use handlers::channel::Channel;
use handlers::ports::MessageLog;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::hub::ChannelDelivery;

/// Channels compared in one round trip.
const BATCH: usize = 256;
/// How long the log may take for one batch.
const DEADLINE: Duration = Duration::from_secs(5);
/// Traffic is recent for this many intervals.
const RECENT: u32 = 3;

/// Compares until `stop`.
pub(super) async fn run(shared: Arc<Shared>, hub: ChannelDelivery, log: Arc<dyn MessageLog>, stop: CancellationToken) {
    let mut check = Check { rotation: VecDeque::new(), turn: None, owed: false, shared, hub, log };
    tokio::select! {
        () = check.run() => {}
        () = stop.cancelled() => {}
    }
}

struct Check {
    shared: Arc<Shared>,
    hub: ChannelDelivery,
    log: Arc<dyn MessageLog>,
    /// What is still to be compared in this turn of the rotation.
    rotation: VecDeque<Channel>,
    /// When this turn began.
    turn: Option<Instant>,
    /// Whether everything is to be compared as soon as the log answers.
    owed: bool,
}

impl Check {
    async fn run(&mut self) {
        let shared = self.shared.clone();
        let mut interval = tokio::time::interval(shared.settings.tail);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = shared.missed.notified() => self.owed = true,
            }
            if self.owed {
                self.owed = !self.compare(&self.hub.followed(None)).await;
            } else {
                let recent = self.hub.followed(Some(shared.settings.tail * RECENT));
                self.compare(&recent).await;
                let others = self.next_of_rotation();
                self.compare(&others).await;
            }
        }
    }

    /// The share of all channels that is due in this interval.
    fn next_of_rotation(&mut self) -> Vec<Channel> {
        let settings = &self.shared.settings;
        if self.rotation.is_empty() && self.turn.is_none_or(|begun| begun.elapsed() >= settings.rotation) {
            self.rotation = self.hub.followed(None).into();
            self.turn = Some(Instant::now());
        }
        let begun = self.turn.unwrap_or_else(Instant::now);
        let left = settings.rotation.saturating_sub(begun.elapsed()).as_millis() / settings.tail.as_millis().max(1);
        let share = self.rotation.len().div_ceil(usize::try_from(left).unwrap_or(usize::MAX).max(1));
        self.rotation.drain(..share).collect()
    }

    /// Fills what is behind; `false` when the log did not answer.
    async fn compare(&self, channels: &[Channel]) -> bool {
        for batch in channels.chunks(BATCH) {
            let Ok(Ok(ends)) = tokio::time::timeout(DEADLINE, self.log.heads(batch)).await else { return false };
            for (channel, end) in batch.iter().zip(&ends) {
                if self.hub.note_end(channel, end) {
                    self.shared.metrics.refilled.inc();
                }
            }
        }
        true
    }
}
