//! The board of a fan-out: which broadcasts are under way, who still misses which, and what has been counted.
//!
//! Invariant: a (receiver, broadcast) pair is counted as delivered at most once, so `lost` is exact. The board keeps at
//! most [`MAX_OUTSTANDING_BROADCASTS`] broadcasts; at that bound nothing more is published until the oldest is complete or given up.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::load::report::Latencies;

/// How long a broadcast may take to reach everyone before the next one stops waiting for it.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Most broadcasts between the oldest incomplete one and the newest.
const MAX_OUTSTANDING_BROADCASTS: usize = 4_096;

struct PendingBroadcast {
    published: Instant,
    missing: u32,
}

/// One broadcast a beat; those that could not go out in time follow as soon as they may.
struct PublishSchedule {
    interval: Duration,
    due: Instant,
}

/// Counts and gates the broadcasts of one run.
pub struct DeliveryTracker {
    receivers: u32,
    publishers: u64,
    in_flight: usize,
    publishing: bool,
    pace: Option<PublishSchedule>,
    /// Broadcasts from number `first` to `next`, the first of them incomplete.
    outstanding: VecDeque<PendingBroadcast>,
    first: u64,
    next: u64,
    incomplete: usize,
    waker: Option<Waker>,
    /// Deliveries so far, each receiver and broadcast once.
    pub deliveries: u64,
    /// Length of the last frame that was a delivery.
    pub delivered_bytes: usize,
    /// Deliveries that came again, or behind a later one of the same publisher.
    pub repeated: u64,
    /// Frames without a number.
    pub other_frames: u64,
    /// From publishing to delivery.
    pub latencies: Latencies,
}

impl DeliveryTracker {
    /// An empty board.
    pub fn new(receivers: u32, publishers: u32, in_flight: usize) -> Self {
        Self {
            receivers,
            publishers: u64::from(publishers),
            in_flight,
            publishing: true,
            pace: None,
            outstanding: VecDeque::new(),
            first: 0,
            next: 0,
            incomplete: 0,
            waker: None,
            deliveries: 0,
            delivered_bytes: 0,
            repeated: 0,
            other_frames: 0,
            latencies: Latencies::new(),
        }
    }

    /// From `first` on one broadcast is due every `beat`, and none goes out before.
    pub fn set_schedule(&mut self, beat: Duration, first: Instant) {
        self.pace = Some(PublishSchedule { interval: beat, due: first });
    }

    /// The number of the broadcast to publish now, if one may be: it counts as under way from here on.
    pub fn publish_next(&mut self, now: Instant) -> Option<u64> {
        let full = self.incomplete >= self.in_flight || self.outstanding.len() >= MAX_OUTSTANDING_BROADCASTS;
        if full || !self.publishing {
            return None;
        }
        let published = self.take_due(now)?;
        self.outstanding.push_back(PendingBroadcast { published, missing: self.receivers });
        self.incomplete += 1;
        self.next += 1;
        Some(self.next - 1)
    }

    /// When the next broadcast was due, if it is by now. A latency counts from then: a server that holds up the publisher
    /// has kept the receivers waiting for as long.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let Some(pace) = &mut self.pace else { return Some(now) };
        let due = pace.due;
        (due <= now).then(|| pace.due += pace.interval)?;
        Some(due)
    }

    /// Counts one frame of a receiver; `expected` is that receiver's next number from each publisher.
    pub fn record_frame(&mut self, sequence: Option<u64>, bytes: usize, expected: &mut [u64], now: Instant) {
        let Some(sequence) = sequence.filter(|sequence| *sequence < self.next) else {
            self.other_frames += 1;
            return;
        };
        let expected = &mut expected[(sequence % self.publishers) as usize];
        if sequence < *expected {
            self.repeated += 1;
            return;
        }
        *expected = sequence + 1;
        self.delivered_bytes = bytes;
        self.deliver(sequence, now);
    }

    fn deliver(&mut self, sequence: u64, now: Instant) {
        self.deliveries += 1;
        let Some(index) = sequence.checked_sub(self.first) else { return };
        let Some(broadcast) = self.outstanding.get_mut(index as usize) else { return };
        self.latencies.record(now.saturating_duration_since(broadcast.published));
        broadcast.missing -= 1;
        if broadcast.missing == 0 {
            self.incomplete -= 1;
            self.drop_complete();
            self.wake();
        }
    }

    fn drop_complete(&mut self) {
        while self.outstanding.front().is_some_and(|broadcast| broadcast.missing == 0) {
            self.outstanding.pop_front();
            self.first += 1;
        }
    }

    /// Stops waiting for broadcasts that are older than [`DELIVERY_TIMEOUT`]; a late delivery still counts as one.
    pub fn expire_overdue(&mut self, now: Instant) {
        while self
            .outstanding
            .front()
            .is_some_and(|oldest| now.saturating_duration_since(oldest.published) > DELIVERY_TIMEOUT)
        {
            self.outstanding.pop_front();
            self.first += 1;
            self.incomplete -= 1;
            self.drop_complete();
        }
    }

    /// Wakes `waker` whenever another broadcast may be published.
    pub fn wake_on_completion(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Begins the measured window: forgets the latencies, returns the deliveries so far.
    pub fn start_window(&mut self) -> u64 {
        self.latencies.reset();
        self.deliveries
    }

    /// From now on nothing is published.
    pub fn stop_publishing(&mut self) {
        self.publishing = false;
    }

    /// Whether every broadcast has reached everyone, or was given up.
    pub fn is_complete(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Broadcasts so far.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// Deliveries that have not come.
    pub fn lost(&self) -> u64 {
        self.next * u64::from(self.receivers) - self.deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_broadcast_waits_for_a_complete_one() {
        let now = Instant::now();
        let mut board = DeliveryTracker::new(2, 1, 2);
        assert_eq!(
            [board.publish_next(now), board.publish_next(now), board.publish_next(now)],
            [Some(0), Some(1), None]
        );
        let (mut one, mut other) = ([0], [0]);
        board.record_frame(Some(0), 9, &mut one, now);
        assert_eq!(board.publish_next(now), None);
        board.record_frame(Some(0), 9, &mut other, now);
        assert_eq!(board.publish_next(now), Some(2));
        assert_eq!((board.deliveries, board.lost()), (2, 4));
    }

    #[test]
    fn a_gap_is_lost_a_repetition_is_not_a_delivery() {
        let now = Instant::now();
        let mut board = DeliveryTracker::new(1, 1, 8);
        while board.publish_next(now).is_some() {}
        let mut expected = [0];
        for sequence in [0, 1, 1, 5, 4, 6, 7] {
            board.record_frame(Some(sequence), 9, &mut expected, now);
        }
        board.record_frame(None, 9, &mut expected, now);
        board.record_frame(Some(999), 9, &mut expected, now);
        assert_eq!((board.deliveries, board.repeated, board.other_frames, board.lost()), (5, 2, 2, 3));
        assert!(!board.is_complete());
    }

    #[test]
    fn publishers_are_independent() {
        let now = Instant::now();
        let mut board = DeliveryTracker::new(1, 2, 4);
        while board.publish_next(now).is_some() {}
        let mut expected = [0, 0];
        for sequence in [1, 0, 3, 2] {
            board.record_frame(Some(sequence), 9, &mut expected, now);
        }
        assert_eq!((board.deliveries, board.repeated, board.lost()), (4, 0, 0));
        assert!(board.is_complete());
    }

    #[test]
    fn an_overdue_broadcast_stops_holding_up_the_others() {
        let now = Instant::now();
        let mut board = DeliveryTracker::new(1, 1, 2);
        while board.publish_next(now).is_some() {}
        let mut expected = [0];
        board.record_frame(Some(1), 9, &mut expected, now);
        assert_eq!(board.publish_next(now), Some(2));
        let later = now + DELIVERY_TIMEOUT + Duration::from_millis(1);
        board.expire_overdue(later);
        assert!(board.is_complete());
        assert_eq!((board.publish_next(later), board.lost()), (Some(3), 3));
    }

    #[test]
    fn with_a_pace_broadcasts_go_out_when_they_are_due_and_latencies_count_from_then() {
        let (first, beat) = (Instant::now(), Duration::from_millis(50));
        let mut board = DeliveryTracker::new(1, 1, 2);
        board.set_schedule(beat, first);
        assert_eq!([board.publish_next(first), board.publish_next(first + beat / 2)], [Some(0), None]);
        let late = first + 4 * beat;
        assert_eq!([board.publish_next(late), board.publish_next(late)], [Some(1), None], "two are under way");
        board.record_frame(Some(0), 9, &mut [0], late);
        assert_eq!(board.publish_next(late), Some(2), "what is overdue follows");
        board.record_frame(Some(2), 9, &mut [0], late);
        let summary = board.latencies.summary();
        assert!((199_000..=201_000).contains(&summary.max) && (99_000..=101_000).contains(&summary.p50), "{summary:?}");
    }

    #[test]
    fn nothing_is_published_after_the_stop() {
        let mut board = DeliveryTracker::new(1, 1, 2);
        board.stop_publishing();
        assert_eq!(board.publish_next(Instant::now()), None);
    }
}
