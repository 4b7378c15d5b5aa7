//! A log that is another one than before: it was lost, or a replica took over that may lack messages.
//!
//! Invariant: readers are told with a `gap` before the first message of the new epoch, in the messages' own lane, and get
//! everything of it that the `gap` does not leave out. Which of two epochs is the present one is for the log to say, or for
//! a resume, which has just read it: a message alone proves nothing, because one that was published before the loss may
//! arrive behind it.

use gateway::id::GatewayId;
use handlers::channel::{Channel, Offset, Position};
use handlers::frame::{Frame as _, Gap, GapReason};
use handlers::ports::{Priority, Released};

use super::sequence::Item;
use super::{ChannelDelivery, Ordered};
use crate::connection::Queued;

impl ChannelDelivery {
    /// Goes on in the epoch of `end`, where the log ends now.
    pub(in crate::hub) fn begin_epoch(&self, channel: &Channel, state: &mut Ordered, end: &Position) {
        let (left_out, waited) = state.sequence.begin_anew(end);
        self.pass(channel, &state.sequence, waited);
        let (from, to) = (Offset::START.next(), Offset(left_out));
        let gap = Gap { channel: &channel.name, from, to, epoch: &end.epoch, reason: GapReason::Epoch }.encode();
        let queued = Queued { text: gap.into(), placement: None };
        let item = Item { priority: Priority::of_channel(&channel.name), queued };
        self.pass(channel, &state.sequence, vec![(left_out + 1, item)]);
    }

    /// Releases a connection that was caught up to `through`. The first that is caught up in another epoch is what tells of
    /// it here, when no message has yet.
    pub(in crate::hub) fn release_in_epoch(
        &self,
        connection: GatewayId,
        channel: &Channel,
        state: &mut Ordered,
        through: &Position,
    ) -> Released {
        let is_foreign = state.sequence.is_foreign(&through.epoch);
        if is_foreign {
            self.begin_epoch(channel, state, through);
        }
        let released = state.sequence.release(connection, through);
        if let Some(missing) = state.sequence.missing().filter(|_| is_foreign) {
            self.fill(channel, state, missing);
        }
        released
    }
}
