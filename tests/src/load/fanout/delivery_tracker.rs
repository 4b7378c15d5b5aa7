//! Delivery tracker of a fan-out run: broadcasts in flight, their missing deliveries, and the counters.
//!
//! A (receiver, broadcast) pair is counted as delivered at most once, so `lost` is exact. The tracker holds at most
//! [`MAX_OUTSTANDING_BROADCASTS`] broadcasts; at that bound nothing more is published until the oldest is complete or
//! expired.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::load::report::Latencies;

/// Time after which an incomplete broadcast no longer blocks the next one.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of broadcasts from the oldest incomplete one to the newest.
const MAX_OUTSTANDING_BROADCASTS: usize = 4_096;

struct PendingBroadcast {
    published: Instant,
    missing: u32,
}

/// Publishes one broadcast per interval; late ones follow as soon as they are allowed.
struct PublishSchedule {
    interval: Duration,
    due: Instant,
}

/// Counts the deliveries of one run and limits its broadcasts.
pub struct DeliveryTracker {
    receivers: u32,
    publishers: u64,
    in_flight: usize,
    publishing: bool,
    schedule: Option<PublishSchedule>,
    /// Broadcasts with the numbers `first` to `next`; the first of them is incomplete.
    outstanding: VecDeque<PendingBroadcast>,
    first: u64,
    next: u64,
    incomplete: usize,
    waker: Option<Waker>,
    /// Deliveries so far, one per receiver and broadcast.
    pub deliveries: u64,
    /// Length of the last delivered frame.
    pub delivered_bytes: usize,
    /// Deliveries that repeat or follow a later one of the same publisher.
    pub repeated: u64,
    /// Frames without a sequence number.
    pub other_frames: u64,
    /// Latencies from publishing to delivery.
    pub latencies: Latencies,
}

impl DeliveryTracker {
    /// Returns a tracker without broadcasts.
    pub fn new(receivers: u32, publishers: u32, in_flight: usize) -> Self {
        Self {
            receivers,
            publishers: u64::from(publishers),
            in_flight,
            publishing: true,
            schedule: None,
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

    /// Schedules one broadcast per `period` from `first` on; none is published earlier.
    pub fn set_schedule(&mut self, period: Duration, first: Instant) {
        self.schedule = Some(PublishSchedule { interval: period, due: first });
    }

    /// Returns the number of the broadcast to publish now, if one is allowed; it counts as in flight from this call
    /// on.
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

    /// Returns the scheduled time of the next broadcast if it is due. Latencies count from it: a server that blocks
    /// the publisher delays the receivers by the same time.
    fn take_due(&mut self, now: Instant) -> Option<Instant> {
        let Some(schedule) = &mut self.schedule else { return Some(now) };
        let due = schedule.due;
        (due <= now).then(|| schedule.due += schedule.interval)?;
        Some(due)
    }

    /// Counts one frame of a receiver; `expected` holds that receiver's next number of each publisher.
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

    /// Expires broadcasts older than [`DELIVERY_TIMEOUT`]; a late delivery is still counted.
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
            Some(current) => current.clone_from(waker),
            None => self.waker = Some(waker.clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Starts the measured window: resets the latencies, returns the deliveries so far.
    pub fn start_window(&mut self) -> u64 {
        self.latencies.reset();
        self.deliveries
    }

    /// Stops publishing.
    pub fn stop_publishing(&mut self) {
        self.publishing = false;
    }

    /// Returns whether every broadcast has reached all receivers or has expired.
    pub fn is_complete(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Returns the number of broadcasts so far.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// Returns the number of missing deliveries.
    pub fn lost(&self) -> u64 {
        self.next * u64::from(self.receivers) - self.deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_broadcast_waits_until_one_is_complete() {
        let now = Instant::now();
        let mut tracker = DeliveryTracker::new(2, 1, 2);
        assert_eq!(
            [tracker.publish_next(now), tracker.publish_next(now), tracker.publish_next(now)],
            [Some(0), Some(1), None]
        );
        let (mut one, mut other) = ([0], [0]);
        tracker.record_frame(Some(0), 9, &mut one, now);
        assert_eq!(tracker.publish_next(now), None);
        tracker.record_frame(Some(0), 9, &mut other, now);
        assert_eq!(tracker.publish_next(now), Some(2));
        assert_eq!((tracker.deliveries, tracker.lost()), (2, 4));
    }

    #[test]
    fn a_gap_is_lost_and_a_repetition_is_not_a_delivery() {
        let now = Instant::now();
        let mut tracker = DeliveryTracker::new(1, 1, 8);
        while tracker.publish_next(now).is_some() {}
        let mut expected = [0];
        for sequence in [0, 1, 1, 5, 4, 6, 7] {
            tracker.record_frame(Some(sequence), 9, &mut expected, now);
        }
        tracker.record_frame(None, 9, &mut expected, now);
        tracker.record_frame(Some(999), 9, &mut expected, now);
        assert_eq!((tracker.deliveries, tracker.repeated, tracker.other_frames, tracker.lost()), (5, 2, 2, 3));
        assert!(!tracker.is_complete());
    }

    #[test]
    fn publishers_are_independent() {
        let now = Instant::now();
        let mut tracker = DeliveryTracker::new(1, 2, 4);
        while tracker.publish_next(now).is_some() {}
        let mut expected = [0, 0];
        for sequence in [1, 0, 3, 2] {
            tracker.record_frame(Some(sequence), 9, &mut expected, now);
        }
        assert_eq!((tracker.deliveries, tracker.repeated, tracker.lost()), (4, 0, 0));
        assert!(tracker.is_complete());
    }

    #[test]
    fn an_overdue_broadcast_does_not_block_the_others() {
        let now = Instant::now();
        let mut tracker = DeliveryTracker::new(1, 1, 2);
        while tracker.publish_next(now).is_some() {}
        let mut expected = [0];
        tracker.record_frame(Some(1), 9, &mut expected, now);
        assert_eq!(tracker.publish_next(now), Some(2));
        let later = now + DELIVERY_TIMEOUT + Duration::from_millis(1);
        tracker.expire_overdue(later);
        assert!(tracker.is_complete());
        assert_eq!((tracker.publish_next(later), tracker.lost()), (Some(3), 3));
    }

    #[test]
    fn at_a_fixed_rate_latencies_count_from_the_scheduled_time() {
        let (first, period) = (Instant::now(), Duration::from_millis(50));
        let mut tracker = DeliveryTracker::new(1, 1, 2);
        tracker.set_schedule(period, first);
        assert_eq!([tracker.publish_next(first), tracker.publish_next(first + period / 2)], [Some(0), None]);
        let late = first + 4 * period;
        assert_eq!([tracker.publish_next(late), tracker.publish_next(late)], [Some(1), None], "two are in flight");
        tracker.record_frame(Some(0), 9, &mut [0], late);
        assert_eq!(tracker.publish_next(late), Some(2), "overdue broadcasts follow");
        tracker.record_frame(Some(2), 9, &mut [0], late);
        let summary = tracker.latencies.summary();
        assert!((199_000..=201_000).contains(&summary.max) && (99_000..=101_000).contains(&summary.p50), "{summary:?}");
    }

    #[test]
    fn nothing_is_published_after_stop_publishing() {
        let mut tracker = DeliveryTracker::new(1, 1, 2);
        tracker.stop_publishing();
        assert_eq!(tracker.publish_next(Instant::now()), None);
    }
}
