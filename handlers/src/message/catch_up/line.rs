//! The line to one connection that is being caught up, with what it may still carry.
//!
//! Frames go out in the direct lane and without a placement: a deliverer passes them on as they come. Invariant: a
//! connection that is gone ends the work at once.

use bytes::Bytes;

use crate::app::{App, Caller, Failure};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset, Position};
use crate::frame::{Frame, Gap, GapReason, MessageFrame};
use crate::ports::{Delivered, Outgoing, Priority, Released, Timestamp};

pub(super) struct Line<'a> {
    pub(super) app: &'a App,
    pub(super) caller: &'a Caller,
    audience: Audience,
    bytes: usize,
    deadline: Timestamp,
}

impl<'a> Line<'a> {
    pub(super) fn new(app: &'a App, caller: &'a Caller) -> Self {
        let audience = Audience::Connection(caller.connection.clone());
        let deadline = app.clock.now().plus(app.limits.resume_time);
        Self { app, caller, audience, bytes: app.limits.resume_bytes, deadline }
    }

    /// Whether no further message may be sent.
    pub(super) fn is_spent(&self) -> bool {
        self.bytes == 0 || self.app.clock.now() >= self.deadline
    }

    pub(super) async fn say(&self, frame: Bytes) -> Result<(), Failure> {
        let outgoing = Outgoing { frame, priority: Priority::Direct, placement: None };
        match self.app.delivery.deliver(&self.audience, outgoing).await? {
            Delivered::To(_) => Ok(()),
            Delivered::Gone => Err(Failure::gone()),
        }
    }

    /// Sends a missed message, and takes it off what may still be sent.
    pub(super) async fn say_entry(&mut self, message: &MessageFrame<'_>) -> Result<(), Failure> {
        let frame = message.encode();
        self.bytes = self.bytes.saturating_sub(frame.len());
        self.say(frame).await
    }

    /// Tells that everything behind `position` up to `to` is left out, and moves it there.
    pub(super) async fn gap(
        &self,
        channel: &ChannelName,
        position: &mut Position,
        to: Offset,
        reason: GapReason,
    ) -> Result<(), Failure> {
        let from = position.offset.next();
        position.offset = to;
        self.say(Gap { channel, from, to, epoch: &position.epoch, reason }.encode()).await
    }

    pub(super) async fn release(&self, channel: &Channel, through: &Position) -> Result<Released, Failure> {
        Ok(self.app.delivery.release(&self.caller.connection, channel, through).await?)
    }
}
