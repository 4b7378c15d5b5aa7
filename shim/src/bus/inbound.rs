//! Dispatch of received payloads to the hub, to pending requests and to the request server.
//!
//! Payloads of this pod itself are ignored. A malformed record is counted and skipped. Nothing here blocks.

use std::sync::Arc;

use bytes::Bytes;

use super::metrics::BusMetrics;
use super::request_client::PendingRequests;
use super::request_server::RequestServer;
use super::wire::{self, BusRecord};
use crate::hub::ChannelDelivery;

/// Dispatcher of the records that the subscriber receives.
pub(super) struct InboundDispatcher {
    /// Delivery to this pod's connections.
    pub(super) hub: ChannelDelivery,
    /// Incarnation of this pod, whose own payloads are ignored.
    pub(super) incarnation: u64,
    /// Requests of this pod that wait for a reply.
    pub(super) pending_requests: Arc<PendingRequests>,
    /// Server of the requests of other pods.
    pub(super) request_server: RequestServer,
    /// Counters of received and malformed records.
    pub(super) metrics: Arc<BusMetrics>,
}

impl InboundDispatcher {
    /// Dispatches the records of one payload.
    pub(super) fn dispatch_payload(&self, payload: &Bytes) {
        let Ok((origin, records)) = wire::read_payload(payload) else {
            self.metrics.malformed_records.inc();
            return;
        };
        if origin == self.incarnation {
            return;
        }
        for record in records {
            self.metrics.received_records.inc();
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
                Ok(BusRecord::Reply { id, reply }) => self.pending_requests.complete_request(id, reply),
                Ok(BusRecord::Heartbeat) => {}
                Err(_) => {
                    self.metrics.malformed_records.inc();
                }
            }
        }
    }
}
