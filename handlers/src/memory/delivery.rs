//! Delivery that keeps what every connection would have got, for tests.
//!
//! Audiences are resolved through a connection store, so a connection is open while its record is there. Holds and marks
//! are honoured as by an adapter that owns sockets: a placed message reaches a connection at most once. It passes frames
//! on in the order of the calls and fills no holes. An inbox keeps the newest [`FRAMES`] frames.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::audience::Audience;
use crate::channel::{Channel, Epoch, Offset, Position};
use crate::id::ConnectionId;
use crate::ports::{
    CloseReason, Connection, ConnectionStore, Delivered, Delivery, DeliveryError, Outgoing, Placement, Released,
    StoreError,
};

/// How many frames an inbox keeps: more than any resume sends.
const FRAMES: usize = 65_536;
/// How many records are read at a time.
const PAGE: usize = 1_000;

/// Inboxes instead of sockets.
pub struct MemoryDelivery {
    connections: Arc<dyn ConnectionStore>,
    inboxes: Mutex<HashMap<ConnectionId, Inbox>>,
}

#[derive(Default)]
struct Inbox {
    frames: VecDeque<Bytes>,
    channels: HashMap<Channel, Reading>,
    closed: Option<CloseReason>,
}

/// How one connection stands to one channel.
#[derive(Default)]
struct Reading {
    held: bool,
    /// The highest placed message that a hold withheld.
    withheld: Option<Position>,
    /// Up to here it was caught up by a release.
    through: Option<Position>,
    passed: HashSet<(Epoch, Offset)>,
}

impl MemoryDelivery {
    /// Delivery to the connections of a store.
    #[must_use]
    pub fn new(connections: Arc<dyn ConnectionStore>) -> Self {
        Self { connections, inboxes: Mutex::default() }
    }

    /// Takes out what a connection got since the last call.
    #[must_use]
    pub fn take(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.inboxes.lock().get_mut(id).map(|inbox| inbox.frames.drain(..).collect()).unwrap_or_default()
    }

    /// Why a connection was closed; `None` while it was not.
    #[must_use]
    pub fn closed(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.inboxes.lock().get(id).and_then(|inbox| inbox.closed)
    }

    async fn resolve(&self, audience: &Audience) -> Result<Vec<Connection>, DeliveryError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.connections.members(audience, after.as_deref(), PAGE).await.map_err(unresolved)?;
            found.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// Runs `change` on the inbox of an open connection.
    async fn at<T>(
        &self,
        id: &ConnectionId,
        change: impl FnOnce(&mut Inbox) -> T + Send,
    ) -> Result<Option<T>, DeliveryError> {
        let open = self.connections.find(id).await.map_err(unresolved)?.is_some();
        Ok(open.then(|| change(self.inboxes.lock().entry(id.clone()).or_default())))
    }
}

fn unresolved(error: StoreError) -> DeliveryError {
    match error {
        StoreError::Unavailable(source) => DeliveryError::Unavailable(source),
        error => DeliveryError::Backend { adapter: "memory", source: Box::new(error) },
    }
}

fn answered<T>(done: Option<T>) -> Delivered {
    done.map_or(Delivered::Gone, |_| Delivered::To(Some(1)))
}

impl Inbox {
    fn pass(&mut self, outgoing: &Outgoing) {
        if outgoing.placement.as_ref().is_none_or(|placement| self.admits(placement)) {
            if self.frames.len() == FRAMES {
                self.frames.pop_front();
            }
            self.frames.push_back(outgoing.frame.clone());
        }
    }

    fn admits(&mut self, Placement { channel, position }: &Placement) -> bool {
        let reading = self.channels.entry(channel.clone()).or_default();
        if reading.through.as_ref().is_some_and(|through| reaches(through, position)) {
            return false;
        }
        if reading.held {
            let higher = reading.withheld.as_ref().is_none_or(|withheld| !reaches(withheld, position));
            reading.withheld = if higher { Some(position.clone()) } else { reading.withheld.take() };
            return false;
        }
        reading.passed.insert((position.epoch.clone(), position.offset))
    }

    fn release(&mut self, channel: &Channel, through: &Position) -> Released {
        let reading = self.channels.entry(channel.clone()).or_default();
        match &reading.withheld {
            Some(withheld) if !reaches(through, withheld) => Released::Behind(withheld.offset),
            _ => {
                reading.held = false;
                reading.withheld = None;
                reading.through = Some(through.clone());
                Released::Live
            }
        }
    }
}

/// Whether `mark` is at or past `position`.
fn reaches(mark: &Position, position: &Position) -> bool {
    mark.epoch == position.epoch && mark.offset >= position.offset
}

#[async_trait]
impl Delivery for MemoryDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) -> Result<Delivered, DeliveryError> {
        let receivers = self.resolve(audience).await?;
        if receivers.is_empty() && matches!(audience, Audience::Connection(_)) {
            return Ok(Delivered::Gone);
        }
        let mut inboxes = self.inboxes.lock();
        for receiver in &receivers {
            inboxes.entry(receiver.id.clone()).or_default().pass(&outgoing);
        }
        Ok(Delivered::To(Some(receivers.len() as u64)))
    }

    async fn hold(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        let hold = |inbox: &mut Inbox| {
            for channel in channels {
                inbox.channels.entry(channel.clone()).or_default().held = true;
            }
        };
        self.at(connection, hold).await.map(answered)
    }

    async fn release(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<Released, DeliveryError> {
        let released = self.at(connection, |inbox| inbox.release(channel, through)).await?;
        Ok(released.unwrap_or(Released::Live))
    }

    async fn detach(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        let detach = |inbox: &mut Inbox| inbox.channels.retain(|channel, _| !channels.contains(channel));
        self.at(connection, detach).await.map(answered)
    }

    async fn close(&self, connection: &ConnectionId, reason: CloseReason) -> Result<Delivered, DeliveryError> {
        self.at(connection, |inbox| inbox.closed = Some(reason)).await.map(answered)
    }
}

#[cfg(test)]
mod tests;
