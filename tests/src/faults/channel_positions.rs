//! What a client was shown of each of its channels, and what it is to do next, by [`Positions`].
//!
//! Invariant: what [`ChannelPositions::observe_message`] says to apply is the next offset of its channel, each once. What comes before its
//! turn is not kept but asked for again, which is slower and as good. Pure state.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::positions::{GapEffect, MessageOrder, Positions, SummaryOrder};

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OffsetDecision {
    /// Show it: it is the next one.
    Apply,
    /// Drop it: it was shown before, or a resume is about to send it (rules 3 and 5).
    Discard,
    /// One before it is late or lost: resume, unless it comes soon (rule 4).
    OutOfOrder,
    /// It contradicts what was said before.
    EpochConflict,
}

/// A client's channels.
#[derive(Debug, Default)]
pub(super) struct ChannelPositions {
    positions: Positions,
    places: BTreeMap<String, ReceivedPosition>,
}

#[derive(Debug, Default)]
struct ReceivedPosition {
    /// The first offset that this client has to be shown.
    first: Option<u64>,
    /// Offsets that the server said it will not send.
    left_out: Vec<(u64, u64)>,
    /// What was shown of epochs that are over.
    past: Vec<ReadRange>,
}

/// What a client was shown of a channel in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRange {
    /// The channel.
    pub channel: String,
    /// The epoch.
    pub epoch: String,
    /// Whether it was the last one that the client heard of.
    pub current: bool,
    /// The first offset that it had to be shown.
    pub first: u64,
    /// The last one that it was shown.
    pub last: u64,
    /// What it was told that it will not be shown, both ends included.
    pub left_out: Vec<(u64, u64)>,
}

impl ChannelPositions {
    /// A client of these channels that has seen nothing.
    pub(super) fn for_channels(channels: &[String]) -> Self {
        let places = channels.iter().map(|channel| (channel.clone(), ReceivedPosition::default())).collect();
        Self { positions: Positions::default(), places }
    }

    /// The `channels` of a `resume` of these, or of all; their live messages do not count from here to `welcome`.
    pub(super) fn start_resume(&mut self, only: Option<&[String]>) -> Value {
        let named = self.places.keys().filter(|channel| only.is_none_or(|only| only.contains(channel)));
        self.positions.resume(named.map(String::as_str))
    }

    /// What was missed comes from here on.
    pub(super) fn finish_resume(&mut self) {
        self.positions.end_resume();
    }

    /// Takes a message in.
    pub(super) fn observe_message(&mut self, channel: &str, epoch: &str, offset: u64) -> OffsetDecision {
        let Some(place) = self.places.get_mut(channel) else { return OffsetDecision::Discard };
        match self.positions.message(channel, epoch, offset) {
            // The first one ever seen may come before the answer that says where the channel stood.
            MessageOrder::First => {
                place.first = Some(offset);
                OffsetDecision::Apply
            }
            MessageOrder::Next => OffsetDecision::Apply,
            MessageOrder::Repeat | MessageOrder::Resuming => OffsetDecision::Discard,
            MessageOrder::Early => OffsetDecision::OutOfOrder,
            MessageOrder::OtherEpoch => OffsetDecision::EpochConflict,
        }
    }

    /// Takes a `gap` in; `false` when the messages from there on belong to another epoch.
    pub(super) fn observe_gap(&mut self, channel: &str, epoch: &str, from: u64, to: u64) -> bool {
        let before = self.positions.position(channel).map(|(epoch, last)| (epoch.to_owned(), last));
        let Some(place) = self.places.get_mut(channel) else { return true };
        let effect = self.positions.gap(channel, epoch, to);
        if effect == GapEffect::OtherEpoch {
            place.past.extend(before.and_then(|(epoch, last)| place.read_range(channel, &epoch, last, false)));
            place.left_out.clear();
            place.first = Some(from);
        }
        if effect != GapEffect::Covered && from <= to {
            place.left_out.push((from, to));
        }
        effect != GapEffect::OtherEpoch
    }

    /// Takes the positions of an answer in, where nothing is known yet (rule 2); answers the channels whose end is said to
    /// be beyond what was shown.
    pub(super) fn observe_heads<'a>(&mut self, ends: impl Iterator<Item = (&'a String, &'a str, u64)>) -> Vec<String> {
        let mut behind = Vec::new();
        for (channel, epoch, offset) in ends {
            let Some(place) = self.places.get_mut(channel) else { continue };
            match self.positions.summary(channel, epoch, offset) {
                SummaryOrder::Adopted => place.first = Some(offset + 1),
                SummaryOrder::Ahead => behind.push(channel.clone()),
                SummaryOrder::Known => {}
            }
        }
        behind
    }

    /// What was shown, of each channel of which anything is known.
    pub(super) fn read_ranges(&self) -> Vec<ReadRange> {
        let readings = |(channel, place): (&String, &ReceivedPosition)| {
            let current = self.positions.position(channel);
            let current = current.and_then(|(epoch, last)| place.read_range(channel, epoch, last, true));
            place.past.iter().cloned().chain(current).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(readings).collect()
    }
}

impl ReceivedPosition {
    fn read_range(&self, channel: &str, epoch: &str, last: u64, current: bool) -> Option<ReadRange> {
        let (channel, epoch) = (channel.to_owned(), epoch.to_owned());
        Some(ReadRange { channel, epoch, current, first: self.first?, last, left_out: self.left_out.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(epoch: &str, current: bool, first: u64, last: u64) -> ReadRange {
        ReadRange { channel: "room:a".into(), epoch: epoch.into(), current, first, last, left_out: vec![] }
    }

    fn places() -> ChannelPositions {
        let mut places = ChannelPositions::for_channels(&["room:a".to_owned()]);
        places.finish_resume();
        places.observe_heads([(&"room:a".to_owned(), "e", 4)].into_iter());
        places
    }

    #[test]
    fn each_offset_is_applied_once_and_in_order() {
        let mut places = places();
        let steps = [4, 5, 5, 7, 6, 7, 8].map(|offset| places.observe_message("room:a", "e", offset));
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
        assert_eq!(places.read_ranges(), [reading("e", true, 5, 8)]);
    }

    #[test]
    fn while_resuming_live_messages_do_not_count() {
        let mut places = places();
        assert_eq!(places.start_resume(None), json!({"room:a": {"epoch": "e", "offset": 4}}));
        assert_eq!(places.observe_message("room:a", "e", 5), OffsetDecision::Discard);
        places.finish_resume();
        assert_eq!(places.observe_message("room:a", "e", 5), OffsetDecision::Apply);
    }

    #[test]
    fn what_is_left_out_is_remembered_and_another_epoch_is_told() {
        let mut places = places();
        assert!(places.observe_gap("room:a", "e", 5, 9));
        assert_eq!(places.observe_message("room:a", "e", 10), OffsetDecision::Apply);
        assert_eq!(places.read_ranges()[0].left_out, [(5, 9)]);
        assert_eq!(places.observe_message("room:a", "f", 11), OffsetDecision::EpochConflict);
        assert!(!places.observe_gap("room:a", "f", 1, 0));
        assert_eq!(places.observe_message("room:a", "f", 1), OffsetDecision::Apply);
        assert!(places.observe_gap("room:a", "f", 1, 0), "a pod that learns of it later tells again");
        assert_eq!(places.observe_message("room:a", "f", 1), OffsetDecision::Discard);
        let before = ReadRange { left_out: vec![(5, 9)], ..reading("e", false, 5, 10) };
        assert_eq!(places.read_ranges(), [before, reading("f", true, 1, 1)]);
    }

    #[test]
    fn an_answer_that_claims_more_than_was_sent_is_noticed() {
        assert_eq!(places().observe_heads([(&"room:a".to_owned(), "e", 6)].into_iter()), ["room:a"]);
    }
}
