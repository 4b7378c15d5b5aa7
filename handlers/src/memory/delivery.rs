//! Delivery into in-memory inboxes, for tests.
//!
//! Audiences are resolved from a connection store, so a connection is open while it has a record. Pausing and resuming
//! work as in an adapter that owns sockets: a placed message reaches a connection at most once. Frames are delivered in
//! the order of the calls, and missing offsets are not backfilled. An inbox keeps the newest [`MAX_INBOX_FRAMES`]
//! frames.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::audience::Audience;
use crate::channel::{Channel, Epoch, Offset, Position};
use crate::id::ConnectionId;
use crate::ports::{
    ClientConnection, CloseReason, ConnectionStore, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, Placement,
    ResumeOutcome, StoreError,
};

/// Maximum frames in an inbox: more than a resume sends.
const MAX_INBOX_FRAMES: usize = 65_536;
/// Page size of listings.
const MEMBERS_PAGE_SIZE: usize = 1_000;

/// Delivery adapter with an inbox per connection.
pub struct MemoryDelivery {
    connections: Arc<dyn ConnectionStore>,
    inboxes: Mutex<HashMap<ConnectionId, FrameInbox>>,
}

#[derive(Default)]
struct FrameInbox {
    frames: VecDeque<Bytes>,
    channels: HashMap<Channel, ChannelProgress>,
    closed: Option<CloseReason>,
}

/// Delivery state of one channel on one connection.
#[derive(Default)]
struct ChannelProgress {
    paused: bool,
    /// Newest placed message that was skipped while paused.
    newest_skipped: Option<Position>,
    /// Position of the last resume.
    resumed_through: Option<Position>,
    delivered: HashSet<(Epoch, Offset)>,
}

impl MemoryDelivery {
    /// Creates a delivery to the connections of a store.
    #[must_use]
    pub fn new(connections: Arc<dyn ConnectionStore>) -> Self {
        Self { connections, inboxes: Mutex::default() }
    }

    /// Returns and removes the frames that a connection received since the last call.
    #[must_use]
    pub fn take_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.inboxes.lock().get_mut(id).map(|inbox| inbox.frames.drain(..).collect()).unwrap_or_default()
    }

    /// Returns the reason for which a connection was closed, or `None` if it was not.
    #[must_use]
    pub fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.inboxes.lock().get(id).and_then(|inbox| inbox.closed)
    }

    async fn resolve_audience(&self, audience: &Audience) -> Result<Vec<ClientConnection>, DeliveryError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .connections
                .list_members(audience, after.as_deref(), MEMBERS_PAGE_SIZE)
                .await
                .map_err(resolution_error)?;
            found.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Runs `change` on the inbox of an open connection.
    async fn with_inbox<T>(
        &self,
        id: &ConnectionId,
        change: impl FnOnce(&mut FrameInbox) -> T + Send,
    ) -> Result<Option<T>, DeliveryError> {
        let open = self.connections.find_connection(id).await.map_err(resolution_error)?.is_some();
        Ok(open.then(|| change(self.inboxes.lock().entry(id.clone()).or_default())))
    }
}

fn resolution_error(error: StoreError) -> DeliveryError {
    match error {
        StoreError::Unavailable(source) => DeliveryError::Unavailable(source),
        error => DeliveryError::Backend { adapter: "memory", source: Box::new(error) },
    }
}

fn connection_outcome<T>(done: Option<T>) -> DeliveryOutcome {
    done.map_or(DeliveryOutcome::ConnectionGone, |_| DeliveryOutcome::Delivered(Some(1)))
}

impl FrameInbox {
    fn push_frame(&mut self, outgoing: &OutgoingFrame) {
        if outgoing.placement.as_ref().is_none_or(|placement| self.accept_placed(placement)) {
            if self.frames.len() == MAX_INBOX_FRAMES {
                self.frames.pop_front();
            }
            self.frames.push_back(outgoing.frame.clone());
        }
    }

    fn accept_placed(&mut self, Placement { channel, position }: &Placement) -> bool {
        let progress = self.channels.entry(channel.clone()).or_default();
        if progress.resumed_through.as_ref().is_some_and(|through| covers_position(through, position)) {
            return false;
        }
        if progress.paused {
            let higher = progress.newest_skipped.as_ref().is_none_or(|skipped| !covers_position(skipped, position));
            progress.newest_skipped = if higher { Some(position.clone()) } else { progress.newest_skipped.take() };
            return false;
        }
        progress.delivered.insert((position.epoch.clone(), position.offset))
    }

    fn resume_channel(&mut self, channel: &Channel, through: &Position) -> ResumeOutcome {
        let progress = self.channels.entry(channel.clone()).or_default();
        match &progress.newest_skipped {
            Some(skipped) if !covers_position(through, skipped) => ResumeOutcome::HeadAdvanced(skipped.offset),
            _ => {
                progress.paused = false;
                progress.newest_skipped = None;
                progress.resumed_through = Some(through.clone());
                ResumeOutcome::Live
            }
        }
    }
}

/// Returns whether `reached` is at or past `position`.
fn covers_position(reached: &Position, position: &Position) -> bool {
    reached.epoch == position.epoch && reached.offset >= position.offset
}

#[async_trait]
impl Delivery for MemoryDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        let receivers = self.resolve_audience(audience).await?;
        if receivers.is_empty() && matches!(audience, Audience::Connection(_)) {
            return Ok(DeliveryOutcome::ConnectionGone);
        }
        let mut inboxes = self.inboxes.lock();
        for receiver in &receivers {
            inboxes.entry(receiver.id.clone()).or_default().push_frame(&outgoing);
        }
        Ok(DeliveryOutcome::Delivered(Some(receivers.len() as u64)))
    }

    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let pause = |inbox: &mut FrameInbox| {
            for channel in channels {
                inbox.channels.entry(channel.clone()).or_default().paused = true;
            }
        };
        self.with_inbox(connection, pause).await.map(connection_outcome)
    }

    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        let resumed = self.with_inbox(connection, |inbox| inbox.resume_channel(channel, through)).await?;
        Ok(resumed.unwrap_or(ResumeOutcome::Live))
    }

    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        let detach = |inbox: &mut FrameInbox| inbox.channels.retain(|channel, _| !channels.contains(channel));
        self.with_inbox(connection, detach).await.map(connection_outcome)
    }

    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        self.with_inbox(connection, |inbox| inbox.closed = Some(reason)).await.map(connection_outcome)
    }
}

#[cfg(test)]
mod tests;
