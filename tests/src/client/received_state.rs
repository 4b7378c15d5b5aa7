//! What a client has seen of each channel: the check that nothing comes twice, steps back, or is left out in silence.
//!
//! Invariant: offsets of a channel only grow within an epoch, and the epoch changes only with a `gap` that says so. A jump
//! is remembered as a hole until a `gap` explains it: a server that sheds tells so behind the messages that it kept.

use std::collections::BTreeMap;

use serde_json::Value;

use super::positions::{GapEffect, MessageOrder, Positions, SummaryOrder};

/// The positions of all channels, and what is missing of each. Handed on from a connection to the one that replaces it.
#[derive(Debug, Clone, Default)]
pub struct ReceivedState {
    positions: Positions,
    /// First and last offset of what was left out of each channel and not explained yet.
    holes: BTreeMap<String, Vec<(u64, u64)>>,
}

impl ReceivedState {
    /// The `since` of a `resume`: `null` for a channel of which nothing was seen.
    #[must_use]
    pub fn position(&self, channel: &str) -> Value {
        self.positions.since(channel)
    }

    /// The last offset that was seen of a channel, 0 when none was.
    #[must_use]
    pub fn last(&self, channel: &str) -> u64 {
        self.positions.position(channel).map_or(0, |(_, offset)| offset)
    }

    /// Takes a position as seen, for clients that come with one from elsewhere.
    pub fn set_position(&mut self, channel: &str, epoch: &str, last: u64) {
        self.positions.set(channel, epoch, last);
        self.holes.remove(channel);
    }

    /// The rules that these positions follow, for a client that resumes.
    pub(super) const fn positions(&mut self) -> &mut Positions {
        &mut self.positions
    }

    /// How a logged message relates to what was seen of its channel; `None` when the frame has no position.
    pub(super) fn order(&self, frame: &Value) -> Option<MessageOrder> {
        Some(self.positions.order(frame["channel"].as_str()?, frame["epoch"].as_str()?, frame["offset"].as_u64()?))
    }

    /// A channel that is left may jump.
    pub(super) fn clear_channel(&mut self, channel: &str) {
        self.positions.forget(channel);
        self.holes.remove(channel);
    }

    /// Takes a frame in. `who` begins the sentence of a failure.
    pub(super) fn record_frame(&mut self, who: &str, frame: &Value) {
        match super::type_of(frame) {
            "message" => self.message(who, frame),
            "gap" => self.gap(who, frame),
            "members" | "resumed" | "ack" => {
                for (channel, position) in frame["channels"].as_object().into_iter().flatten() {
                    self.record_head(channel, position);
                }
            }
            _ => {}
        }
    }

    /// Fails when something was left out without a word.
    pub fn assert_complete(&self, who: &str) {
        for (channel, holes) in &self.holes {
            assert!(holes.is_empty(), "{who} never got {holes:?} of {channel}, and was told nothing");
        }
    }

    fn message(&mut self, who: &str, frame: &Value) {
        let (Some(channel), Some(offset)) = (frame["channel"].as_str(), frame["offset"].as_u64()) else { return };
        let epoch = frame["epoch"].as_str().expect("a message with an offset has an epoch");
        match self.positions.message(channel, epoch, offset) {
            MessageOrder::First | MessageOrder::Next | MessageOrder::Resuming => {}
            MessageOrder::Early => {
                self.leave_out(channel, offset - 1);
                self.positions.set(channel, epoch, offset);
            }
            MessageOrder::OtherEpoch => panic!("{who}: the epoch of {channel} changed without a gap"),
            MessageOrder::Repeat => {
                panic!("{who} saw {channel} {offset} behind {}: twice, or out of order", self.last(channel))
            }
        }
    }

    fn gap(&mut self, who: &str, frame: &Value) {
        let number =
            |field: &str| frame[field].as_u64().unwrap_or_else(|| panic!("{who}: a gap without '{field}': {frame}"));
        let (from, to) = (number("from"), number("to"));
        let (channel, epoch) =
            (frame["channel"].as_str().unwrap_or_default(), frame["epoch"].as_str().unwrap_or_default());
        let last = self.last(channel);
        match self.positions.gap(channel, epoch, to) {
            GapEffect::First | GapEffect::OtherEpoch => drop(self.holes.remove(channel)),
            GapEffect::Covered => self.excuse_range(channel, from, to),
            GapEffect::Raised => {
                self.excuse_range(channel, from, to);
                self.note_hole(channel, last + 1, from.saturating_sub(1));
            }
        }
    }

    /// The server says that everything up to here was sent.
    fn record_head(&mut self, channel: &str, position: &Value) {
        let (Some(epoch), Some(offset)) = (position["epoch"].as_str(), position["offset"].as_u64()) else { return };
        if self.positions.summary(channel, epoch, offset) == SummaryOrder::Ahead {
            self.leave_out(channel, offset);
            self.positions.set(channel, epoch, offset);
        }
    }

    /// Everything above the position up to `to` was left out.
    fn leave_out(&mut self, channel: &str, to: u64) {
        self.note_hole(channel, self.last(channel) + 1, to);
    }

    fn note_hole(&mut self, channel: &str, first: u64, last: u64) {
        if first <= last {
            self.holes.entry(channel.to_owned()).or_default().push((first, last));
        }
    }

    fn excuse_range(&mut self, channel: &str, from: u64, to: u64) {
        let Some(holes) = self.holes.get_mut(channel) else { return };
        let rest = std::mem::take(holes)
            .into_iter()
            .flat_map(|(first, last)| [(first, last.min(from.saturating_sub(1))), (first.max(to + 1), last)]);
        *holes = rest.filter(|(first, last)| first <= last).collect();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(offset: u64) -> Value {
        json!({"type": "message", "channel": "c", "epoch": "e", "offset": offset})
    }

    fn gap(from: u64, to: u64) -> Value {
        json!({"type": "gap", "channel": "c", "epoch": "e", "from": from, "to": to, "reason": "slow"})
    }

    fn seen(frames: &[Value]) -> ReceivedState {
        let mut seen = ReceivedState::default();
        frames.iter().for_each(|frame| seen.record_frame("she", frame));
        seen
    }

    #[test]
    fn a_gap_explains_a_jump_before_and_behind_it() {
        seen(&[message(1), message(5), gap(2, 4), message(6), gap(7, 9), message(10)]).assert_complete("she");
    }

    #[test]
    #[should_panic(expected = "never got [(2, 2), (5, 5)]")]
    fn a_jump_that_is_explained_in_part_is_found() {
        seen(&[message(1), message(6), gap(3, 4)]).assert_complete("she");
    }

    #[test]
    #[should_panic(expected = "twice, or out of order")]
    fn a_repeat_is_found() {
        seen(&[message(1), message(2), message(2)]);
    }

    #[test]
    #[should_panic(expected = "changed without a gap")]
    fn another_epoch_is_found() {
        seen(&[message(1), json!({"type": "message", "channel": "c", "epoch": "f", "offset": 2})]);
    }

    #[test]
    #[should_panic(expected = "never got [(2, 3)]")]
    fn a_resume_that_claims_more_than_it_sent_is_found() {
        let resumed = json!({"type": "resumed", "channels": {"c": {"epoch": "e", "offset": 3, "count": 2}}});
        seen(&[message(1), resumed]).assert_complete("she");
    }
}
