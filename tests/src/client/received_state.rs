//! Received offsets of each channel: the check that no message repeats, goes back, or is missing without a `gap`.
//!
//! Offsets of a channel only grow within an epoch, and the epoch changes only with a `gap` frame. A jump is recorded
//! as a missing range until a `gap` covers it, because a server that drops messages sends the `gap` after the
//! messages that it kept.

use std::collections::BTreeMap;

use serde_json::Value;

use super::positions::{GapEffect, MessageOrder, Positions, SummaryOrder};

/// Positions and missing ranges of all channels; passed from a connection to its replacement.
#[derive(Debug, Clone, Default)]
pub struct ReceivedState {
    positions: Positions,
    /// First and last offset of each missing range that no `gap` has covered yet, per channel.
    missing_ranges: BTreeMap<String, Vec<(u64, u64)>>,
}

impl ReceivedState {
    /// Returns the `since` of a `resume`: `null` for a channel without a position.
    #[must_use]
    pub fn position(&self, channel: &str) -> Value {
        self.positions.since(channel)
    }

    /// Returns the last received offset of a channel, 0 without one.
    #[must_use]
    pub fn last(&self, channel: &str) -> u64 {
        self.positions.position(channel).map_or(0, |(_, offset)| offset)
    }

    /// Sets a position, for clients that bring one from elsewhere.
    pub fn set_position(&mut self, channel: &str, epoch: &str, last: u64) {
        self.positions.set(channel, epoch, last);
        self.missing_ranges.remove(channel);
    }

    /// Returns the positions, for a client that resumes.
    pub(super) const fn positions(&mut self) -> &mut Positions {
        &mut self.positions
    }

    /// Classifies a logged message; `None` when the frame has no position.
    pub(super) fn order(&self, frame: &Value) -> Option<MessageOrder> {
        Some(self.positions.order(frame["channel"].as_str()?, frame["epoch"].as_str()?, frame["offset"].as_u64()?))
    }

    /// Forgets a channel that was left; its offsets may jump when it is joined again.
    pub(super) fn clear_channel(&mut self, channel: &str) {
        self.positions.forget(channel);
        self.missing_ranges.remove(channel);
    }

    /// Records a frame. `who` starts the failure message.
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

    /// Fails when messages are missing without a `gap`.
    pub fn assert_complete(&self, who: &str) {
        for (channel, missing_ranges) in &self.missing_ranges {
            assert!(missing_ranges.is_empty(), "{who} is missing {missing_ranges:?} of {channel} without a gap frame");
        }
    }

    fn message(&mut self, who: &str, frame: &Value) {
        let (Some(channel), Some(offset)) = (frame["channel"].as_str(), frame["offset"].as_u64()) else { return };
        let epoch = frame["epoch"].as_str().expect("a message with an offset has an epoch");
        match self.positions.message(channel, epoch, offset) {
            MessageOrder::First | MessageOrder::Next | MessageOrder::Resuming => {}
            MessageOrder::Early => {
                self.mark_missing_up_to(channel, offset - 1);
                self.positions.set(channel, epoch, offset);
            }
            MessageOrder::OtherEpoch => panic!("{who}: the epoch of {channel} changed without a gap frame"),
            MessageOrder::Repeat => {
                panic!(
                    "{who} received {channel} offset {offset} after {}: duplicate or out of order",
                    self.last(channel)
                )
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
            GapEffect::First | GapEffect::OtherEpoch => drop(self.missing_ranges.remove(channel)),
            GapEffect::Covered => self.excuse_range(channel, from, to),
            GapEffect::Raised => {
                self.excuse_range(channel, from, to);
                self.record_missing(channel, last + 1, from.saturating_sub(1));
            }
        }
    }

    /// Records the head of a summary: the server states that everything up to it was sent.
    fn record_head(&mut self, channel: &str, position: &Value) {
        let (Some(epoch), Some(offset)) = (position["epoch"].as_str(), position["offset"].as_u64()) else { return };
        if self.positions.summary(channel, epoch, offset) == SummaryOrder::Ahead {
            self.mark_missing_up_to(channel, offset);
            self.positions.set(channel, epoch, offset);
        }
    }

    /// Marks everything above the position up to `to` as missing.
    fn mark_missing_up_to(&mut self, channel: &str, to: u64) {
        self.record_missing(channel, self.last(channel) + 1, to);
    }

    fn record_missing(&mut self, channel: &str, first: u64, last: u64) {
        if first <= last {
            self.missing_ranges.entry(channel.to_owned()).or_default().push((first, last));
        }
    }

    fn excuse_range(&mut self, channel: &str, from: u64, to: u64) {
        let Some(missing_ranges) = self.missing_ranges.get_mut(channel) else { return };
        let rest = std::mem::take(missing_ranges)
            .into_iter()
            .flat_map(|(first, last)| [(first, last.min(from.saturating_sub(1))), (first.max(to + 1), last)]);
        *missing_ranges = rest.filter(|(first, last)| first <= last).collect();
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
    fn a_gap_covers_jumps_before_and_after_it() {
        seen(&[message(1), message(5), gap(2, 4), message(6), gap(7, 9), message(10)]).assert_complete("she");
    }

    #[test]
    #[should_panic(expected = "is missing [(2, 2), (5, 5)]")]
    fn a_partly_covered_jump_is_detected() {
        seen(&[message(1), message(6), gap(3, 4)]).assert_complete("she");
    }

    #[test]
    #[should_panic(expected = "duplicate or out of order")]
    fn a_repeat_is_detected() {
        seen(&[message(1), message(2), message(2)]);
    }

    #[test]
    #[should_panic(expected = "changed without a gap")]
    fn another_epoch_is_detected() {
        seen(&[message(1), json!({"type": "message", "channel": "c", "epoch": "f", "offset": 2})]);
    }

    #[test]
    #[should_panic(expected = "is missing [(2, 3)]")]
    fn a_resume_that_claims_more_than_it_sent_is_detected() {
        let resumed = json!({"type": "resumed", "channels": {"c": {"epoch": "e", "offset": 3, "count": 2}}});
        seen(&[message(1), resumed]).assert_complete("she");
    }
}
