//! Delivery that keeps what every connection would have got, for tests.
//!
//! Audiences are resolved through a connection store, so a connection is open while its record is there. Holds and marks
//! are honoured as by an adapter that owns sockets: a placed message reaches a connection at most once. It passes frames
//! on in the order of the calls and fills no holes. An inbox keeps the newest [`MAX_INBOX_FRAMES`] frames.

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

/// How many frames an inbox keeps: more than any resume sends.
const MAX_INBOX_FRAMES: usize = 65_536;
/// How many records are read at a time.
const MEMBERS_PAGE_SIZE: usize = 1_000;

/// Inboxes instead of sockets.
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

/// How one connection stands to one channel.
#[derive(Default)]
struct ChannelProgress {
    paused: bool,
    /// The highest placed message that a hold withheld.
    newest_skipped: Option<Position>,
    /// Up to here it was caught up by a release.
    resumed_through: Option<Position>,
    delivered: HashSet<(Epoch, Offset)>,
}

impl MemoryDelivery {
    /// Delivery to the connections of a store.
    #[must_use]
    pub fn new(connections: Arc<dyn ConnectionStore>) -> Self {
        Self { connections, inboxes: Mutex::default() }
    }

    /// Takes out what a connection got since the last call.
    #[must_use]
    pub fn take_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.inboxes.lock().get_mut(id).map(|inbox| inbox.frames.drain(..).collect()).unwrap_or_default()
    }

    /// Why a connection was closed; `None` while it was not.
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
        let reading = self.channels.entry(channel.clone()).or_default();
        if reading.resumed_through.as_ref().is_some_and(|through| covers_position(through, position)) {
            return false;
        }
        if reading.paused {
            let higher = reading.newest_skipped.as_ref().is_none_or(|withheld| !covers_position(withheld, position));
            reading.newest_skipped = if higher { Some(position.clone()) } else { reading.newest_skipped.take() };
            return false;
        }
        reading.delivered.insert((position.epoch.clone(), position.offset))
    }

    fn resume_channel(&mut self, channel: &Channel, through: &Position) -> ResumeOutcome {
        let reading = self.channels.entry(channel.clone()).or_default();
        match &reading.newest_skipped {
            Some(withheld) if !covers_position(through, withheld) => ResumeOutcome::HeadAdvanced(withheld.offset),
            _ => {
                reading.paused = false;
                reading.newest_skipped = None;
                reading.resumed_through = Some(through.clone());
                ResumeOutcome::Live
            }
        }
    }
}

/// Whether `mark` is at or past `position`.
fn covers_position(mark: &Position, position: &Position) -> bool {
    mark.epoch == position.epoch && mark.offset >= position.offset
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
        let hold = |inbox: &mut FrameInbox| {
            for channel in channels {
                inbox.channels.entry(channel.clone()).or_default().paused = true;
            }
        };
        self.with_inbox(connection, hold).await.map(connection_outcome)
    }

    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        let released = self.with_inbox(connection, |inbox| inbox.resume_channel(channel, through)).await?;
        Ok(released.unwrap_or(ResumeOutcome::Live))
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
