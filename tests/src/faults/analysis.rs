//! Analysis of a recorded run: message counts, interruptions and reconnects.
//!
//! A message is missing when it was acknowledged and a client that should have received it did not. A violation is a
//! message at two offsets, or an offset with two messages. Both counts must be 0; a `gap` does not excuse a message
//! that the log still has. After a loss of Redis data, messages of the lost epoch are not counted; a client that did
//! not receive a `gap` for the loss is missing every message since.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::channel_positions::ReadRange;
use super::recorder::{Interruption, RecordedState, RunRecorder};

/// Message counts of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// Messages acknowledged to their senders.
    pub acknowledged: usize,
    /// Messages delivered to clients, summed over all clients.
    pub delivered: u64,
    /// Messages acknowledged but not delivered to a reader of their channel.
    pub missing: usize,
    /// Number of violations, such as a message delivered twice.
    pub violations: usize,
    /// Descriptions of the first violations.
    pub violation_samples: Vec<String>,
}

/// Interruption times of clients whose connections ended with the same close code, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InterruptionSummary {
    /// Number of interruptions.
    pub count: usize,
    /// Median.
    pub p50_ms: u64,
    /// 99th percentile.
    pub p99_ms: u64,
    /// Maximum.
    pub max_ms: u64,
}

impl RunRecorder {
    /// Compares the acknowledged messages with the delivered ones.
    #[must_use]
    pub fn message_counts(&self) -> MessageCounts {
        let state = self.lock_state();
        let missing = state.read_ranges.iter().map(|range| count_missing(&state, range)).sum();
        MessageCounts {
            acknowledged: state.channels.values().flatten().map(|epoch| epoch.acknowledged.len()).sum(),
            delivered: state.counts.delivered,
            missing,
            violations: state.violation_count,
            violation_samples: state.violation_samples.clone(),
        }
    }

    /// Returns the interruption times by the close code that ended the connections.
    #[must_use]
    pub fn interruptions(&self) -> BTreeMap<u16, InterruptionSummary> {
        let state = self.lock_state();
        let mut by_code: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
        for Interruption { code, took } in &state.interruptions {
            by_code.entry(*code).or_default().push(*took);
        }
        by_code.into_iter().map(|(code, times)| (code, summarize_interruptions(&times))).collect()
    }

    /// Returns the highest number of reconnects within `window`, of clients that were asked to reconnect.
    #[must_use]
    pub fn peak_reconnects(&self, window: Duration) -> usize {
        let mut times = self.lock_state().reconnects.clone();
        times.sort_unstable();
        let within = |(first, started)| times[first..].iter().take_while(|time| **time - started < window).count();
        times.iter().copied().enumerate().map(within).max().unwrap_or_default()
    }
}

/// Returns the number of acknowledged messages that a reader should have received and did not.
fn count_missing(state: &RecordedState, range: &ReadRange) -> usize {
    let epochs = state.channels.get(&range.channel).map(Vec::as_slice).unwrap_or_default();
    let Some(index) = epochs.iter().position(|epoch| epoch.name == range.epoch) else { return 0 };
    let excluded = |offset: u64| range.excluded.iter().any(|(from, to)| (*from..=*to).contains(&offset));
    let expected = |offset: u64| (range.current && offset > range.last) || excluded(offset);
    let missing = epochs[index].acknowledged.range(range.first..).filter(|(offset, _)| expected(**offset)).count();
    // A client without a `gap` for the end of the epoch has received nothing since.
    let later = if range.current { &epochs[index + 1..] } else { &[] };
    missing + later.iter().map(|epoch| epoch.acknowledged.len()).sum::<usize>()
}

fn summarize_interruptions(times: &[Duration]) -> InterruptionSummary {
    let mut times: Vec<u64> = times.iter().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).collect();
    times.sort_unstable();
    // Exact percentiles of all values: a histogram's upper bound would hide the maximum.
    let percentile = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
    InterruptionSummary { count: times.len(), p50_ms: percentile(50), p99_ms: percentile(99), max_ms: percentile(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64, excluded: &[(u64, u64)]) -> ReadRange {
        let (channel, epoch) = ("room:a".into(), "e".into());
        ReadRange { channel, epoch, current: true, first, last, excluded: excluded.to_vec() }
    }

    /// Returns a recorder with three acknowledged messages.
    fn recorder() -> RunRecorder {
        let recorder = RunRecorder::default();
        acknowledge(&recorder, "e", 3);
        recorder
    }

    fn acknowledge(recorder: &RunRecorder, epoch: &str, count: u64) {
        for offset in 1..=count {
            recorder.update_counts(|counts| counts.waiting += 1);
            recorder.record_ack("room:a", epoch, offset, &format!("m{offset}"));
        }
    }

    #[test]
    fn messages_of_a_lost_epoch_are_not_missing_but_those_of_the_next_one_are() {
        let recorder = recorder();
        acknowledge(&recorder, "f", 2);
        let notified = |last| ReadRange { epoch: "f".into(), ..range(1, last, &[]) };
        recorder.record_read_ranges(vec![ReadRange { current: false, ..range(1, 1, &[]) }, notified(2)]);
        assert_eq!(recorder.message_counts().missing, 0, "client notified of the loss");
        recorder.record_read_ranges(vec![notified(1)]);
        assert_eq!(recorder.message_counts().missing, 1, "client that lacks a message after the loss");
        recorder.record_read_ranges(vec![range(1, 3, &[])]);
        assert_eq!(recorder.message_counts().missing, 1 + 2, "client not notified of the loss");
        recorder.record_epoch_loss("room:a", "epoch");
        assert_eq!(recorder.message_counts().violations, 1, "an epoch loss is a violation unless it was injected");
    }

    #[test]
    fn a_message_that_a_reader_did_not_receive_is_missing() {
        let recorder = recorder();
        recorder.record_read_ranges(vec![range(1, 3, &[]), range(3, 3, &[])]);
        assert_eq!(recorder.message_counts().missing, 0);
        recorder.record_read_ranges(vec![range(1, 2, &[])]);
        assert_eq!(recorder.message_counts().missing, 1, "after the last received offset");
        recorder.record_read_ranges(vec![range(1, 3, &[(1, 2)])]);
        assert_eq!(recorder.message_counts().missing, 3, "a range covered by a gap");
    }

    #[test]
    fn a_message_at_two_offsets_and_an_offset_with_two_messages_are_violations() {
        let recorder = recorder();
        for (offset, id) in [(1, "m1"), (2, "m2"), (1, "m1"), (3, "m2"), (1, "m9")] {
            recorder.record_delivery("room:a", "e", offset, id);
        }
        recorder.update_counts(|counts| counts.waiting += 1);
        recorder.record_ack("room:a", "e", 3, "other");
        let messages = recorder.message_counts();
        assert_eq!(messages.violations, 3, "{messages:?}");
    }

    #[test]
    fn interruptions_are_grouped_by_close_code() {
        let recorder = RunRecorder::default();
        for number in 1..=100 {
            recorder.record_interruption(Interruption { code: 1012, took: Duration::from_millis(number * 100) });
        }
        recorder.record_interruption(Interruption { code: 1006, took: Duration::from_millis(7) });
        let interruptions = recorder.interruptions();
        assert_eq!(
            interruptions[&1012],
            InterruptionSummary { count: 100, p50_ms: 5_000, p99_ms: 9_900, max_ms: 10_000 }
        );
        assert_eq!(interruptions[&1006], InterruptionSummary { count: 1, p50_ms: 7, p99_ms: 7, max_ms: 7 });
    }
}
