//! Taking in what arrived.
//!
//! Invariant: what this pod published itself is not taken in; a record that cannot be read is counted and costs nothing
//! else. Nothing here waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::owner::Owner;
use super::wire::{self, Record};
use crate::hub::ChannelDelivery;

/// The way from the subscription to the hub, to whoever waits for an answer, and to the connections that are asked about.
pub(super) struct Receiver {
    hub: ChannelDelivery,
    shared: Arc<Shared>,
    owner: Owner,
}

impl Receiver {
    pub(super) fn new(hub: ChannelDelivery, shared: Arc<Shared>, tasks: TaskTracker) -> Self {
        let owner = Owner::new(hub.clone(), shared.clone(), tasks);
        Self { hub, shared, owner }
    }

    /// Takes in one payload.
    pub(super) fn take(&self, payload: &Bytes) {
        let Ok((origin, records)) = wire::read_payload(payload) else {
            self.shared.metrics.unreadable.inc();
            return;
        };
        if origin == self.shared.origin {
            return;
        }
        for record in records {
            self.shared.metrics.received.inc();
            match record {
                Ok(Record::Frame(frame)) => {
                    let text = payload.slice_ref(frame.text.as_bytes());
                    self.hub.receive(&frame.audience, frame.part, frame.priority, frame.placement, text);
                }
                Ok(Record::Request { id, operation, text }) => {
                    self.owner.take(origin, id, operation, payload.slice_ref(text.as_bytes()));
                }
                Ok(Record::Reply { id, answer }) => self.shared.requests.answered(id, answer),
                Ok(Record::Pulse) => {}
                Err(_) => {
                    self.shared.metrics.unreadable.inc();
                }
            }
        }
    }
}
