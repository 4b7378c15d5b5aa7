//! Channel positions of a fault-injection client, by [`Positions`], and the decision about each message.
//!
//! [`ChannelPositions::observe_message`] returns `Apply` exactly once per offset and in order. Early messages are
//! dropped and requested again, which is slower than buffering them but equally correct. Pure state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::positions::{GapEffect, MessageOrder, Positions, SummaryOrder};

/// Decision about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetDecision {
    /// Deliver it: it is the next one.
    Apply,
    /// Drop it: it was delivered before, or a resume is about to send it (rules 3 and 5).
    Discard,
    /// An earlier message is late or lost: resume unless it arrives soon (rule 4).
    OutOfOrder,
    /// The epoch changed without a `gap`.
    EpochConflict,
}

/// Positions of a client in its channels.
#[derive(Debug, Default)]
pub(super) struct ChannelPositions {
    positions: Positions,
    channels: BTreeMap<String, ReceivedPosition>,
}

#[derive(Debug, Default)]
struct ReceivedPosition {
    /// The first offset that this client must receive.
    first: Option<u64>,
    /// Ranges that a `gap` excluded from delivery.
    excluded: Vec<(u64, u64)>,
    /// Delivered ranges of ended epochs.
    past: Vec<ReadRange>,
}

/// Offsets delivered to a client in one epoch of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRange {
    pub channel: String,
    pub epoch: String,
    /// Whether this is the last epoch that the client received.
    pub current: bool,
    /// The first offset that the client must receive.
    pub first: u64,
    /// The last offset that the client received.
    pub last: u64,
    /// Ranges that a `gap` excluded from delivery, both ends included.
    pub excluded: Vec<(u64, u64)>,
}

impl ChannelPositions {
    /// Returns the state of a client that has received nothing.
    pub(super) fn for_channels(names: &[String]) -> Self {
        let channels = names.iter().map(|channel| (channel.clone(), ReceivedPosition::default())).collect();
        Self { positions: Positions::default(), channels }
    }

    /// Returns the `channels` of a `resume` of these, or of all; their live messages are ignored until `welcome`.
    pub(super) fn start_resume(&mut self, only: Option<&[String]>) -> Value {
        let named = self.channels.keys().filter(|channel| only.is_none_or(|only| only.contains(channel)));
        self.positions.resume(named.map(String::as_str))
    }

    /// Ends the resume; messages count again.
    pub(super) fn finish_resume(&mut self) {
        self.positions.end_resume();
    }

    /// Records a message and returns the decision about it.
    pub(super) fn observe_message(&mut self, channel: &str, epoch: &str, offset: u64) -> OffsetDecision {
        let Some(received) = self.channels.get_mut(channel) else { return OffsetDecision::Discard };
        match self.positions.message(channel, epoch, offset) {
            // The very first message may arrive before the reply with the channel's head.
            MessageOrder::First => {
                received.first = Some(offset);
                OffsetDecision::Apply
            }
            MessageOrder::Next => OffsetDecision::Apply,
            MessageOrder::Repeat | MessageOrder::Resuming => OffsetDecision::Discard,
            MessageOrder::Early => OffsetDecision::OutOfOrder,
            MessageOrder::OtherEpoch => OffsetDecision::EpochConflict,
        }
    }

    /// Records a `gap`; returns `false` when it starts another epoch.
    pub(super) fn observe_gap(&mut self, channel: &str, epoch: &str, from: u64, to: u64) -> bool {
        let before = self.positions.position(channel).map(|(epoch, last)| (epoch.to_owned(), last));
        let Some(received) = self.channels.get_mut(channel) else { return true };
        let effect = self.positions.gap(channel, epoch, to);
        if effect == GapEffect::OtherEpoch {
            received.past.extend(before.and_then(|(epoch, last)| received.read_range(channel, &epoch, last, false)));
            received.excluded.clear();
            received.first = Some(from);
        }
        if effect != GapEffect::Covered && from <= to {
            received.excluded.push((from, to));
        }
        effect != GapEffect::OtherEpoch
    }

    /// Adopts the heads of a reply for channels without a position (rule 2); returns the channels whose head is above
    /// the last delivered offset.
    pub(super) fn observe_heads<'a>(&mut self, heads: impl Iterator<Item = (&'a String, &'a str, u64)>) -> Vec<String> {
        let mut lagging = Vec::new();
        for (channel, epoch, offset) in heads {
            let Some(received) = self.channels.get_mut(channel) else { continue };
            match self.positions.summary(channel, epoch, offset) {
                SummaryOrder::Adopted => received.first = Some(offset + 1),
                SummaryOrder::Ahead => lagging.push(channel.clone()),
                SummaryOrder::Known => {}
            }
        }
        lagging
    }

    /// Returns the delivered ranges of each channel with a position.
    pub(super) fn read_ranges(&self) -> Vec<ReadRange> {
        let ranges = |(channel, received): (&String, &ReceivedPosition)| {
            let current = self.positions.position(channel);
            let current = current.and_then(|(epoch, last)| received.read_range(channel, epoch, last, true));
            received.past.iter().cloned().chain(current).collect::<Vec<_>>()
        };
        self.channels.iter().flat_map(ranges).collect()
    }
}

impl ReceivedPosition {
    fn read_range(&self, channel: &str, epoch: &str, last: u64, current: bool) -> Option<ReadRange> {
        let (channel, epoch) = (channel.to_owned(), epoch.to_owned());
        Some(ReadRange { channel, epoch, current, first: self.first?, last, excluded: self.excluded.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn range(epoch: &str, current: bool, first: u64, last: u64) -> ReadRange {
        ReadRange { channel: "room:a".into(), epoch: epoch.into(), current, first, last, excluded: vec![] }
    }

    fn positions_at_four() -> ChannelPositions {
        let mut channels = ChannelPositions::for_channels(&["room:a".to_owned()]);
        channels.finish_resume();
        channels.observe_heads([(&"room:a".to_owned(), "e", 4)].into_iter());
        channels
    }

    #[test]
    fn each_offset_is_applied_once_and_in_order() {
        let mut channels = positions_at_four();
        let steps = [4, 5, 5, 7, 6, 7, 8].map(|offset| channels.observe_message("room:a", "e", offset));
        assert_eq!(
            steps,
            [
                OffsetDecision::Discard,
                OffsetDecision::Apply,
                OffsetDecision::Discard,
                OffsetDecision::OutOfOrder,
                OffsetDecision::Apply,
                OffsetDecision::Apply,
                OffsetDecision::Apply
            ]
        );
        assert_eq!(channels.read_ranges(), [range("e", true, 5, 8)]);
    }

    #[test]
    fn live_messages_are_ignored_during_a_resume() {
        let mut channels = positions_at_four();
        assert_eq!(channels.start_resume(None), json!({"room:a": {"epoch": "e", "offset": 4}}));
        assert_eq!(channels.observe_message("room:a", "e", 5), OffsetDecision::Discard);
        channels.finish_resume();
        assert_eq!(channels.observe_message("room:a", "e", 5), OffsetDecision::Apply);
    }

    #[test]
    fn gaps_are_recorded_and_may_start_another_epoch() {
        let mut channels = positions_at_four();
        assert!(channels.observe_gap("room:a", "e", 5, 9));
        assert_eq!(channels.observe_message("room:a", "e", 10), OffsetDecision::Apply);
        assert_eq!(channels.read_ranges()[0].excluded, [(5, 9)]);
        assert_eq!(channels.observe_message("room:a", "f", 11), OffsetDecision::EpochConflict);
        assert!(!channels.observe_gap("room:a", "f", 1, 0));
        assert_eq!(channels.observe_message("room:a", "f", 1), OffsetDecision::Apply);
        assert!(channels.observe_gap("room:a", "f", 1, 0), "a pod that detects the change later repeats the gap");
        assert_eq!(channels.observe_message("room:a", "f", 1), OffsetDecision::Discard);
        let before = ReadRange { excluded: vec![(5, 9)], ..range("e", false, 5, 10) };
        assert_eq!(channels.read_ranges(), [before, range("f", true, 1, 1)]);
    }

    #[test]
    fn a_reply_that_claims_more_than_was_sent_is_detected() {
        assert_eq!(positions_at_four().observe_heads([(&"room:a".to_owned(), "e", 6)].into_iter()), ["room:a"]);
    }
}
