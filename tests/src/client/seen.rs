//! What a client has seen of each channel: the check that nothing comes twice, steps back, or is left out in silence.
//!
//! Invariant: offsets of a channel only grow within an epoch, and the epoch changes only with a `gap` that says so. A jump
//! is remembered as a hole until a `gap` explains it: a server that sheds tells so behind the messages that it kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The places of all channels. Handed on from a connection to the one that replaces it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    places: BTreeMap<String, Place>,
}

#[derive(Debug, Clone)]
struct Place {
    epoch: String,
    last: u64,
    /// First and last offset of what was left out and not explained yet.
    holes: Vec<(u64, u64)>,
}

impl Seen {
    /// The `since` of a `resume`: `null` for a channel of which nothing was seen.
    #[must_use]
    pub fn position(&self, channel: &str) -> Value {
        self.places.get(channel).map_or(Value::Null, |place| json!({"epoch": place.epoch, "offset": place.last}))
    }

    /// The last offset that was seen of a channel, 0 when none was.
    #[must_use]
    pub fn last(&self, channel: &str) -> u64 {
        self.places.get(channel).map_or(0, |place| place.last)
    }

    /// Takes a position as seen, for clients that come with one from elsewhere.
    pub fn place(&mut self, channel: &str, epoch: &str, last: u64) {
        self.places.insert(channel.to_owned(), Place { epoch: epoch.to_owned(), last, holes: Vec::new() });
    }

    /// The next offset of the channel and epoch of a logged message, where something was seen of them.
    pub(super) fn next(&self, message: &Value) -> Option<u64> {
        let place = self.places.get(message["channel"].as_str()?)?;
        (message["epoch"] == *place.epoch).then_some(place.last + 1)
    }

    /// A channel that is left may jump.
    pub(super) fn forget(&mut self, channel: &str) {
        self.places.remove(channel);
    }

    /// Takes a frame in. `who` begins the sentence of a failure.
    pub(super) fn note(&mut self, who: &str, frame: &Value) {
        match super::type_of(frame) {
            "message" => self.message(who, frame),
            "gap" => self.gap(who, frame),
            "members" | "resumed" | "ack" => {
                for (channel, position) in frame["channels"].as_object().into_iter().flatten() {
                    self.caught_up(channel, position);
                }
            }
            _ => {}
        }
    }

    /// Fails when something was left out without a word.
    pub fn assert_complete(&self, who: &str) {
        for (channel, place) in &self.places {
            assert!(place.holes.is_empty(), "{who} never got {:?} of {channel}, and was told nothing", place.holes);
        }
    }

    fn message(&mut self, who: &str, frame: &Value) {
        let (Some(channel), Some(offset)) = (frame["channel"].as_str(), frame["offset"].as_u64()) else { return };
        let epoch = frame["epoch"].as_str().expect("a message with an offset has an epoch");
        let Some(place) = self.places.get_mut(channel) else { return self.place(channel, epoch, offset) };
        assert_eq!(place.epoch, epoch, "{who}: the epoch of {channel} changed without a gap");
        assert!(offset > place.last, "{who} saw {channel} {offset} behind {}: twice, or out of order", place.last);
        place.move_to(offset - 1);
        place.last = offset;
    }

    fn gap(&mut self, who: &str, frame: &Value) {
        let number =
            |field: &str| frame[field].as_u64().unwrap_or_else(|| panic!("{who}: a gap without '{field}': {frame}"));
        let (from, to) = (number("from"), number("to"));
        let (channel, epoch) =
            (frame["channel"].as_str().unwrap_or_default(), frame["epoch"].as_str().unwrap_or_default());
        match self.places.get_mut(channel).filter(|place| place.epoch == epoch) {
            Some(place) => {
                place.explain(from, to);
                if to > place.last {
                    place.move_to(from.saturating_sub(1));
                    place.last = to;
                }
            }
            None => self.place(channel, epoch, to),
        }
    }

    /// The server says that everything up to here was sent.
    fn caught_up(&mut self, channel: &str, position: &Value) {
        let (Some(epoch), Some(offset)) = (position["epoch"].as_str(), position["offset"].as_u64()) else { return };
        match self.places.get_mut(channel) {
            Some(place) => place.move_to(offset),
            None => self.place(channel, epoch, offset),
        }
    }
}

impl Place {
    /// Everything between the last offset and `offset` was left out.
    fn move_to(&mut self, offset: u64) {
        if offset > self.last {
            self.holes.push((self.last + 1, offset));
            self.last = offset;
        }
    }

    fn explain(&mut self, from: u64, to: u64) {
        let holes = std::mem::take(&mut self.holes).into_iter();
        let rest =
            holes.flat_map(|(first, last)| [(first, last.min(from.saturating_sub(1))), (first.max(to + 1), last)]);
        self.holes = rest.filter(|(first, last)| first <= last).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(offset: u64) -> Value {
        json!({"type": "message", "channel": "c", "epoch": "e", "offset": offset})
    }

    fn gap(from: u64, to: u64) -> Value {
        json!({"type": "gap", "channel": "c", "epoch": "e", "from": from, "to": to, "reason": "slow"})
    }

    fn seen(frames: &[Value]) -> Seen {
        let mut seen = Seen::default();
        frames.iter().for_each(|frame| seen.note("she", frame));
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
