//! Taking in what arrived.
//!
//! Invariant: what this pod published itself is not taken in; a record that cannot be read is counted and costs nothing
//! else. Nothing here waits.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::BusState;
use super::request_server::RequestServer;
use super::wire::{self, BusRecord};
use crate::hub::ChannelDelivery;

/// The way from the subscription to the hub, to whoever waits for an answer, and to the connections that are asked about.
pub(super) struct InboundDispatcher {
    hub: ChannelDelivery,
    shared: Arc<BusState>,
    request_server: RequestServer,
}

impl InboundDispatcher {
    pub(super) fn new(hub: ChannelDelivery, shared: Arc<BusState>, tasks: TaskTracker) -> Self {
        let owner = RequestServer::new(hub.clone(), shared.clone(), tasks);
        Self { hub, shared, request_server: owner }
    }

    /// Takes in one payload.
    pub(super) fn dispatch_payload(&self, payload: &Bytes) {
        let Ok((origin, records)) = wire::read_payload(payload) else {
            self.shared.metrics.malformed_records.inc();
            return;
        };
        if origin == self.shared.incarnation {
            return;
        }
        for record in records {
            self.shared.metrics.received_records.inc();
            match record {
                Ok(BusRecord::Frame(frame)) => {
                    let text = payload.slice_ref(frame.text.as_bytes());
                    self.hub.receive_from_peer(
                        &frame.audience,
                        frame.group_index,
                        frame.priority,
                        frame.placement,
                        text,
                    );
                }
                Ok(BusRecord::Request { id, operation, text }) => {
                    self.request_server.serve_request(origin, id, operation, payload.slice_ref(text.as_bytes()));
                }
                Ok(BusRecord::Reply { id, reply: answer }) => self.shared.pending_requests.complete_request(id, answer),
                Ok(BusRecord::Heartbeat) => {}
                Err(_) => {
                    self.shared.metrics.malformed_records.inc();
                }
            }
        }
    }
}
