//! What a run's ledger adds up to: which promises were kept.
//!
//! Missing is an acknowledged message that a client had to be shown and was not; twice is one that a client was shown at two
//! places, or a place with two messages. Both are 0, or the promise is broken; a `gap` does not excuse a message that the
//! log still has. Where Redis has lost its data, what was acknowledged before is not asked for; who was not told so is
//! missing everything since.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::channel_positions::ReadRange;
use super::recorder::{Interruption, RecordedState, RunRecorder};

/// How messages fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// Acknowledged to their senders.
    pub acknowledged: usize,
    /// Shown to readers, all of them together.
    pub delivered: u64,
    /// Acknowledged, and not shown to a reader of its channel.
    pub missing: usize,
    /// Contradictions, such as a message that was shown twice; the first of them as sentences.
    pub violations: usize,
    /// Those sentences.
    pub violation_samples: Vec<String>,
}

/// How long clients of one kind of end were away, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct InterruptionSummary {
    /// How many.
    pub count: usize,
    /// Half were away for no longer.
    pub p50_ms: u64,
    /// All but one in a hundred were away for no longer.
    pub p99_ms: u64,
    /// Nobody was away for longer.
    pub max_ms: u64,
}

impl RunRecorder {
    /// Compares what was acknowledged with what was shown.
    #[must_use]
    pub fn message_counts(&self) -> MessageCounts {
        let books = self.lock_state();
        let missing = books.read_ranges.iter().map(|reading| count_missing(&books, reading)).sum();
        MessageCounts {
            acknowledged: books.channels.values().flatten().map(|epoch| epoch.acknowledged.len()).sum(),
            delivered: books.counts.delivered,
            missing,
            violations: books.violation_count,
            violation_samples: books.violation_samples.clone(),
        }
    }

    /// How long clients were away, by the close code that ended their connections.
    #[must_use]
    pub fn interruptions(&self) -> BTreeMap<u16, InterruptionSummary> {
        let books = self.lock_state();
        let mut by_code: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
        for Interruption { code, took } in &books.interruptions {
            by_code.entry(*code).or_default().push(*took);
        }
        by_code.into_iter().map(|(code, times)| (code, summarize_interruptions(&times))).collect()
    }

    /// The most reconnects that began within `window`, of clients that were told to.
    #[must_use]
    pub fn peak_reconnects(&self, window: Duration) -> usize {
        let mut times = self.lock_state().reconnects.clone();
        times.sort_unstable();
        let within = |(first, begun)| times[first..].iter().take_while(|time| **time - begun < window).count();
        times.iter().copied().enumerate().map(within).max().unwrap_or_default()
    }
}

/// How many acknowledged messages a reader had to be shown and was not.
fn count_missing(books: &RecordedState, reading: &ReadRange) -> usize {
    let epochs = books.channels.get(&reading.channel).map(Vec::as_slice).unwrap_or_default();
    let Some(place) = epochs.iter().position(|epoch| epoch.name == reading.epoch) else { return 0 };
    let left_out = |offset: u64| reading.left_out.iter().any(|(from, to)| (*from..=*to).contains(&offset));
    let due = |offset: u64| (reading.current && offset > reading.last) || left_out(offset);
    let missing = epochs[place].acknowledged.range(reading.first..).filter(|(offset, _)| due(**offset)).count();
    // Who never heard that the epoch is over has been shown nothing since.
    let later = if reading.current { &epochs[place + 1..] } else { &[] };
    missing + later.iter().map(|epoch| epoch.acknowledged.len()).sum::<usize>()
}

fn summarize_interruptions(times: &[Duration]) -> InterruptionSummary {
    let mut times: Vec<u64> = times.iter().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).collect();
    times.sort_unstable();
    // All of them are kept, so that no bound of a histogram hides the longest.
    let of_hundred = |hundredths: usize| times[(times.len() * hundredths).div_ceil(100).saturating_sub(1)];
    InterruptionSummary { count: times.len(), p50_ms: of_hundred(50), p99_ms: of_hundred(99), max_ms: of_hundred(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(first: u64, last: u64, left_out: &[(u64, u64)]) -> ReadRange {
        let (channel, epoch) = ("room:a".into(), "e".into());
        ReadRange { channel, epoch, current: true, first, last, left_out: left_out.to_vec() }
    }

    /// Three messages that were acknowledged.
    fn ledger() -> RunRecorder {
        let ledger = RunRecorder::default();
        acknowledge(&ledger, "e", 3);
        ledger
    }

    fn acknowledge(ledger: &RunRecorder, epoch: &str, count: u64) {
        for offset in 1..=count {
            ledger.update_counts(|counts| counts.waiting += 1);
            ledger.record_ack("room:a", epoch, offset, &format!("m{offset}"));
        }
    }

    #[test]
    fn what_went_with_an_epoch_is_not_missing_and_what_came_in_the_next_one_is() {
        let ledger = ledger();
        acknowledge(&ledger, "f", 2);
        let told = |last| ReadRange { epoch: "f".into(), ..reading(1, last, &[]) };
        ledger.record_read_ranges(vec![ReadRange { current: false, ..reading(1, 1, &[]) }, told(2)]);
        assert_eq!(ledger.message_counts().missing, 0, "who was told of the loss");
        ledger.record_read_ranges(vec![told(1)]);
        assert_eq!(ledger.message_counts().missing, 1, "who was not shown all that came behind it");
        ledger.record_read_ranges(vec![reading(1, 3, &[])]);
        assert_eq!(ledger.message_counts().missing, 1 + 2, "who was not told");
        ledger.record_epoch_loss("room:a", "epoch");
        assert_eq!(ledger.message_counts().violations, 1, "nothing may be lost unless it was taken away");
    }

    #[test]
    fn what_a_reader_was_not_shown_is_missing() {
        let ledger = ledger();
        ledger.record_read_ranges(vec![reading(1, 3, &[]), reading(3, 3, &[])]);
        assert_eq!(ledger.message_counts().missing, 0);
        ledger.record_read_ranges(vec![reading(1, 2, &[])]);
        assert_eq!(ledger.message_counts().missing, 1, "the end");
        ledger.record_read_ranges(vec![reading(1, 3, &[(1, 2)])]);
        assert_eq!(ledger.message_counts().missing, 3, "what a gap told");
    }

    #[test]
    fn a_message_at_two_places_and_a_place_with_two_messages_are_found() {
        let ledger = ledger();
        for (offset, id) in [(1, "m1"), (2, "m2"), (1, "m1"), (3, "m2"), (1, "m9")] {
            ledger.record_delivery("room:a", "e", offset, id);
        }
        ledger.update_counts(|counts| counts.waiting += 1);
        ledger.record_ack("room:a", "e", 3, "other");
        let messages = ledger.message_counts();
        assert_eq!(messages.violations, 3, "{messages:?}");
    }

    #[test]
    fn interruptions_are_told_by_their_code() {
        let ledger = RunRecorder::default();
        for number in 1..=100 {
            ledger.record_interruption(Interruption { code: 1012, took: Duration::from_millis(number * 100) });
        }
        ledger.record_interruption(Interruption { code: 1006, took: Duration::from_millis(7) });
        let told = ledger.interruptions();
        assert_eq!(told[&1012], InterruptionSummary { count: 100, p50_ms: 5_000, p99_ms: 9_900, max_ms: 10_000 });
        assert_eq!(told[&1006], InterruptionSummary { count: 1, p50_ms: 7, p99_ms: 7, max_ms: 7 });
    }
}
