//! Client of requests to the pod that owns a connection.
//!
//! Every request completes within `request_timeout`, with the owner's reply or an error. At most
//! [`MAX_PENDING_REQUESTS`] requests are pending; further ones fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::NodeLiveness;
use super::metrics::BusMetrics;
use super::publisher::PeerPublisher;
use super::wire::{self, PeerOperation, PeerReply};
use crate::redis::RedisClientError;

/// Maximum number of requests without a reply.
const MAX_PENDING_REQUESTS: usize = 4_096;

/// Error of a request to another pod.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// No pod holds the lease of the node id, so none of its connections is open.
    #[error("no pod holds the lease of the connection's node id")]
    NoLeaseHolder,
    /// Reading the lease from Redis failed.
    #[error("checking node liveness failed")]
    Liveness(#[source] RedisClientError),
    /// The limit of pending requests or of the publish queue is reached.
    #[error("too many pending requests to peers")]
    TooManyPending,
    /// No reply arrived within the timeout.
    #[error("request to the owning pod timed out")]
    TimedOut,
}

/// Sends requests to other pods and waits for the replies.
pub(super) struct RequestClient {
    publisher: Arc<PeerPublisher>,
    node_liveness: Arc<dyn NodeLiveness>,
    pending_requests: Arc<PendingRequests>,
    request_timeout: Duration,
    metrics: Arc<BusMetrics>,
}

/// Requests without a reply.
#[derive(Default)]
pub(super) struct PendingRequests {
    next_id: AtomicU64,
    reply_senders: Mutex<HashMap<u64, oneshot::Sender<PeerReply>>>,
}

/// Guard of a pending request. Removes the request when dropped.
struct PendingRequest<'r> {
    requests: &'r PendingRequests,
    id: u64,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.requests.reply_senders.lock().remove(&self.id);
    }
}

impl PendingRequests {
    /// Completes a request with its reply. Drops a reply that arrives after the timeout.
    pub(super) fn complete_request(&self, id: u64, reply: PeerReply) {
        if let Some(reply_sender) = self.reply_senders.lock().remove(&id) {
            let _ = reply_sender.send(reply);
        }
    }

    fn register_request(&self) -> Option<(PendingRequest<'_>, oneshot::Receiver<PeerReply>)> {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut reply_senders = self.reply_senders.lock();
        if reply_senders.len() >= MAX_PENDING_REQUESTS {
            return None;
        }
        reply_senders.insert(id, sender);
        drop(reply_senders);
        Some((PendingRequest { requests: self, id }, receiver))
    }
}

impl RequestClient {
    /// Creates a client whose replies are passed to `pending_requests`.
    pub(super) const fn new(
        publisher: Arc<PeerPublisher>,
        node_liveness: Arc<dyn NodeLiveness>,
        pending_requests: Arc<PendingRequests>,
        request_timeout: Duration,
        metrics: Arc<BusMetrics>,
    ) -> Self {
        Self { publisher, node_liveness, pending_requests, request_timeout, metrics }
    }

    /// Returns whether this pod holds the node id.
    pub(super) fn is_own_node(&self, node: u16) -> bool {
        node == self.node_liveness.node_id()
    }

    /// Sends a request to the pod that holds `node` and waits for the reply. Costs one `PUBLISH` in each direction, and
    /// a read of the lease if [`NodeLiveness`] has not cached it.
    pub(super) async fn send_request(
        &self,
        node: u16,
        operation: &PeerOperation,
        text: &[u8],
    ) -> Result<PeerReply, RequestError> {
        let request = tokio::time::timeout(self.request_timeout, async {
            if !self.node_liveness.is_node_alive(node).await.map_err(RequestError::Liveness)? {
                return Err(RequestError::NoLeaseHolder);
            }
            self.metrics.peer_requests.inc();
            let (pending, reply) = self.pending_requests.register_request().ok_or(RequestError::TooManyPending)?;
            let record = wire::request_record(pending.id, operation, text);
            self.publisher.publish_request(node, record).map_err(|_| RequestError::TooManyPending)?;
            // The sender stays in the map as long as `pending` lives.
            reply.await.map_err(|_| RequestError::TimedOut)
        });
        request.await.unwrap_or_else(|_| {
            self.metrics.peer_request_timeouts.inc();
            Err(RequestError::TimedOut)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reply_completes_its_request_and_a_late_reply_is_dropped() {
        let requests = PendingRequests::default();
        let (first, _abandoned) = requests.register_request().unwrap();
        let (second, reply) = requests.register_request().unwrap();
        requests.complete_request(second.id, PeerReply::Done);
        assert_eq!(reply.await, Ok(PeerReply::Done));
        let late = first.id;
        drop((first, second));
        requests.complete_request(late, PeerReply::Done);
        assert!(requests.reply_senders.lock().is_empty());
    }

    #[test]
    fn the_number_of_pending_requests_is_limited() {
        let requests = PendingRequests::default();
        let pending: Vec<_> = (0..MAX_PENDING_REQUESTS).map(|_| requests.register_request().unwrap()).collect();
        assert!(requests.register_request().is_none());
        drop(pending);
        assert!(requests.register_request().is_some());
    }
}
