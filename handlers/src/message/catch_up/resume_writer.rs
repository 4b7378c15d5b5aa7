//! Writer of the frames of a resume to one connection, with its budget of bytes and time.
//!
//! Frames have direct priority and no placement, so an adapter delivers them immediately. If the connection is gone,
//! every method returns [`ActionError::connection_gone`].

use bytes::Bytes;

use crate::app::{ActionError, EventCaller, MessagingApp};
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName, Offset, Position};
use crate::frame::{EncodeFrame, GapFrame, GapReason, MessageFrame};
use crate::ports::{DeliveryOutcome, OutgoingFrame, Priority, ResumeOutcome, Timestamp};

pub(super) struct ResumeWriter<'a> {
    pub(super) app: &'a MessagingApp,
    pub(super) caller: &'a EventCaller,
    audience: Audience,
    remaining_bytes: usize,
    /// Bytes of messages sent so far.
    pub(super) sent_bytes: usize,
    deadline: Timestamp,
}

impl<'a> ResumeWriter<'a> {
    pub(super) fn new(app: &'a MessagingApp, caller: &'a EventCaller) -> Self {
        let audience = Audience::Connection(caller.connection.clone());
        let deadline = app.clock.now().plus(app.limits.resume_time);
        Self { app, caller, audience, remaining_bytes: app.limits.resume_bytes, sent_bytes: 0, deadline }
    }

    /// Returns whether the budget of bytes or time is used up.
    pub(super) fn budget_exhausted(&self) -> bool {
        self.remaining_bytes == 0 || self.app.clock.now() >= self.deadline
    }

    pub(super) async fn send_frame(&self, frame: Bytes) -> Result<(), ActionError> {
        let outgoing = OutgoingFrame { frame, priority: Priority::Direct, placement: None };
        match self.app.delivery.deliver(&self.audience, outgoing).await? {
            DeliveryOutcome::Delivered(_) => Ok(()),
            DeliveryOutcome::ConnectionGone => Err(ActionError::connection_gone()),
        }
    }

    /// Sends a missed message and deducts its size from the budget.
    pub(super) async fn send_message(&mut self, message: &MessageFrame<'_>) -> Result<(), ActionError> {
        let frame = message.encode();
        self.sent_bytes += frame.len();
        self.remaining_bytes = self.remaining_bytes.saturating_sub(frame.len());
        self.send_frame(frame).await
    }

    /// Reports a gap from the offset after `position` up to `to`, and moves `position` to `to`.
    pub(super) async fn send_gap(
        &self,
        channel: &ChannelName,
        position: &mut Position,
        to: Offset,
        reason: GapReason,
    ) -> Result<(), ActionError> {
        let from = position.offset.next();
        position.offset = to;
        self.send_frame(GapFrame { channel, from, to, epoch: &position.epoch, reason }.encode()).await
    }

    pub(super) async fn resume_channel(
        &self,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, ActionError> {
        Ok(self.app.delivery.resume_channel(&self.caller.connection, channel, through).await?)
    }
}
