//! Positions of a client in its channels, by the "Rules for clients" of `docs/PROTOCOL.md`. Pure state.
//!
//! | rule | here |
//! |---|---|
//! | 2: remember one position per channel | [`Positions::message`], [`Positions::gap`], [`Positions::summary`] |
//! | 3 and 4: drop repeats, detect missing messages | [`MessageOrder`] |
//! | 5: ignore messages while resuming | [`Positions::resume`], [`Positions::end_resume`] |
//!
//! The caller decides how to react to an early message or a summary that is ahead: a checking client records a
//! missing range, a reordering client buffers the message, a recovering client resumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Offset of a message relative to the position of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageOrder {
    /// The first of a channel without a position.
    First,
    /// The next offset.
    Next,
    /// At or below the position: drop it (rule 3).
    Repeat,
    /// Above the next offset: an earlier message is late or lost (rule 4).
    Early,
    /// Another epoch, which only a `gap` may start.
    OtherEpoch,
    /// The channel is being resumed, which sends the message again (rule 5).
    Resuming,
}

/// Effect of a `gap` on the position of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapEffect {
    /// The channel had no position; it is `to` now.
    First,
    /// The position was below `to` and is `to` now.
    Raised,
    /// The position was not below `to`: nothing changed.
    Covered,
    /// The position is `to` of another epoch now.
    OtherEpoch,
}

/// Position in a summary (`welcome`, `resumed`, `members`, `ack`) relative to the channel's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SummaryOrder {
    /// The channel had no position; it is this one now.
    Adopted,
    /// Above the position in the same epoch. The position stays, because the summary may have overtaken messages.
    Ahead,
    /// At or below the position, or in another epoch.
    Known,
}

/// Positions of all channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    channels: BTreeMap<String, Channel>,
}

#[derive(Debug, Clone, Default)]
struct Channel {
    /// Epoch and offset.
    position: Option<(String, u64)>,
    resuming: bool,
}

impl Positions {
    /// Returns the epoch and the offset of a channel.
    pub(crate) fn position(&self, channel: &str) -> Option<(&str, u64)> {
        let (epoch, offset) = self.channels.get(channel)?.position.as_ref()?;
        Some((epoch, *offset))
    }

    /// Returns the position of a channel as `since` of a frame, `null` without one.
    pub(crate) fn since(&self, channel: &str) -> Value {
        self.position(channel).map_or(Value::Null, |(epoch, offset)| json!({"epoch": epoch, "offset": offset}))
    }

    /// Sets a position unconditionally.
    pub(crate) fn set(&mut self, channel: &str, epoch: &str, offset: u64) {
        self.channels.entry(channel.to_owned()).or_default().position = Some((epoch.to_owned(), offset));
    }

    /// Removes a channel that was left.
    pub(crate) fn forget(&mut self, channel: &str) {
        self.channels.remove(channel);
    }

    /// Classifies a message without changing the position.
    pub(crate) fn order(&self, channel: &str, epoch: &str, offset: u64) -> MessageOrder {
        if self.is_resuming(channel) {
            return MessageOrder::Resuming;
        }
        match self.position(channel) {
            None => MessageOrder::First,
            Some((known, _)) if known != epoch => MessageOrder::OtherEpoch,
            Some((_, last)) if offset <= last => MessageOrder::Repeat,
            Some((_, last)) if offset == last + 1 => MessageOrder::Next,
            Some(_) => MessageOrder::Early,
        }
    }

    /// Classifies a message and raises the position when it is the first or the next one.
    pub(crate) fn message(&mut self, channel: &str, epoch: &str, offset: u64) -> MessageOrder {
        let order = self.order(channel, epoch, offset);
        if matches!(order, MessageOrder::First | MessageOrder::Next) {
            self.set(channel, epoch, offset);
        }
        order
    }

    /// Raises the position to the last offset of a gap.
    pub(crate) fn gap(&mut self, channel: &str, epoch: &str, to: u64) -> GapEffect {
        let effect = match self.position(channel) {
            None => GapEffect::First,
            Some((known, _)) if known != epoch => GapEffect::OtherEpoch,
            Some((_, last)) if to > last => GapEffect::Raised,
            Some(_) => return GapEffect::Covered,
        };
        self.set(channel, epoch, to);
        effect
    }

    /// Adopts the position of a summary if the channel has none.
    pub(crate) fn summary(&mut self, channel: &str, epoch: &str, offset: u64) -> SummaryOrder {
        match self.position(channel) {
            None => {
                self.set(channel, epoch, offset);
                SummaryOrder::Adopted
            }
            Some((known, last)) if known == epoch && offset > last => SummaryOrder::Ahead,
            Some(_) => SummaryOrder::Known,
        }
    }

    /// Returns the `channels` of a `resume`; their messages are ignored until [`Self::end_resume`].
    pub(crate) fn resume<'a>(&mut self, channels: impl IntoIterator<Item = &'a str>) -> Value {
        let since = |channel: &'a str| {
            self.channels.entry(channel.to_owned()).or_default().resuming = true;
            (channel.to_owned(), self.since(channel))
        };
        Value::Object(channels.into_iter().map(since).collect())
    }

    /// Ends all resumes, after `welcome` or on a new connection.
    pub(crate) fn end_resume(&mut self) {
        self.channels.values_mut().for_each(|channel| channel.resuming = false);
    }

    /// Returns whether the messages of a channel are ignored because of a resume.
    pub(crate) fn is_resuming(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.resuming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "room:a";

    fn at(offset: u64) -> Positions {
        let mut positions = Positions::default();
        positions.set(ROOM, "e", offset);
        positions
    }

    #[test]
    fn a_channel_without_a_position_adopts_the_first_one() {
        let unknown = Positions::default;
        assert_eq!(unknown().since(ROOM), Value::Null);
        for (adopted, mut positions) in [(7, unknown()), (9, unknown()), (8, unknown())] {
            match adopted {
                7 => assert_eq!(positions.message(ROOM, "e", 7), MessageOrder::First),
                8 => assert_eq!(positions.summary(ROOM, "e", 8), SummaryOrder::Adopted),
                _ => assert_eq!(positions.gap(ROOM, "e", 9), GapEffect::First),
            }
            assert_eq!(positions.since(ROOM), json!({"epoch": "e", "offset": adopted}));
        }
    }

    #[test]
    fn only_the_next_offset_of_the_same_epoch_raises_the_position() {
        let mut positions = at(4);
        let orders = [4, 5, 5, 7, 6, 7].map(|offset| positions.message(ROOM, "e", offset));
        use MessageOrder::{Early, Next, Repeat};
        assert_eq!(orders, [Repeat, Next, Repeat, Early, Next, Next]);
        assert_eq!(positions.message(ROOM, "f", 8), MessageOrder::OtherEpoch);
        assert_eq!(positions.position(ROOM), Some(("e", 7)));
    }

    #[test]
    fn a_gap_raises_the_position_and_may_start_another_epoch() {
        let mut positions = at(4);
        assert_eq!(positions.gap(ROOM, "e", 4), GapEffect::Covered);
        assert_eq!(positions.gap(ROOM, "e", 9), GapEffect::Raised);
        assert_eq!(positions.message(ROOM, "e", 10), MessageOrder::Next);
        assert_eq!(positions.gap(ROOM, "f", 0), GapEffect::OtherEpoch);
        assert_eq!(positions.message(ROOM, "f", 1), MessageOrder::Next);
    }

    #[test]
    fn a_summary_never_moves_a_position() {
        let mut positions = at(4);
        let orders = [("e", 3), ("e", 4), ("e", 5), ("f", 9)].map(|(epoch, to)| positions.summary(ROOM, epoch, to));
        use SummaryOrder::{Ahead, Known};
        assert_eq!(orders, [Known, Known, Ahead, Known]);
        assert_eq!(positions.position(ROOM), Some(("e", 4)));
    }

    #[test]
    fn messages_of_resuming_channels_are_ignored() {
        let mut positions = at(4);
        positions.set("room:b", "e", 1);
        let since = positions.resume([ROOM, "room:new"]);
        assert_eq!(since, json!({"room:a": {"epoch": "e", "offset": 4}, "room:new": null}));
        assert_eq!(positions.message(ROOM, "e", 5), MessageOrder::Resuming);
        assert_eq!(positions.message("room:new", "e", 5), MessageOrder::Resuming);
        assert_eq!(positions.message("room:b", "e", 2), MessageOrder::Next);
        positions.end_resume();
        assert_eq!(positions.message(ROOM, "e", 5), MessageOrder::Next);
        assert_eq!(positions.message("room:new", "e", 5), MessageOrder::First);
    }

    #[test]
    fn a_channel_that_was_left_has_no_position() {
        let mut positions = at(4);
        positions.forget(ROOM);
        assert_eq!(positions.message(ROOM, "e", 9), MessageOrder::First);
    }
}
