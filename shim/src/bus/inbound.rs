//! Dispatch of received payloads to the hub, to pending requests and to the request server.
//!
//! Payloads of this pod itself are ignored. A malformed record is counted and skipped. Nothing here blocks.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::BusState;
use super::request_server::RequestServer;
use super::wire::{self, BusRecord};
use crate::hub::ChannelDelivery;

/// Dispatcher of the records that the subscriber receives.
pub(super) struct InboundDispatcher {
    hub: ChannelDelivery,
    shared: Arc<BusState>,
    request_server: RequestServer,
}

impl InboundDispatcher {
    pub(super) fn new(hub: ChannelDelivery, shared: Arc<BusState>, tasks: TaskTracker) -> Self {
        let request_server = RequestServer::new(hub.clone(), shared.clone(), tasks);
        Self { hub, shared, request_server }
    }

    /// Dispatches the records of one payload.
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
                Ok(BusRecord::Reply { id, reply }) => self.shared.pending_requests.complete_request(id, reply),
                Ok(BusRecord::Heartbeat) => {}
                Err(_) => {
                    self.shared.metrics.malformed_records.inc();
                }
            }
        }
    }
}
