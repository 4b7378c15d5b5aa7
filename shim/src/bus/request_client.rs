//! Asking the pod that owns a connection.
//!
//! Invariant: every request ends, with the owner's answer or an error, within its deadline. Bounds: [`MAX_PENDING_REQUESTS`]
//! requests at a time, more are refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::publish_queue::{DropPolicy, Publication};
use super::wire::{self, PeerOperation, PeerReply};
use super::{BusState, redis_channel};
use crate::redis::RedisClientError;

/// Most requests that wait for an answer.
const MAX_PENDING_REQUESTS: usize = 4_096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// Nobody holds the node's lease: none of its connections is open.
    #[error("nobody owns the connection's node")]
    NoLeaseHolder,
    /// Redis does not say who lives.
    #[error("asking who owns a node")]
    Liveness(#[source] RedisClientError),
    /// Too many requests wait, or too much to be published.
    #[error("too many requests to other pods")]
    TooManyPending,
    /// No answer came in time.
    #[error("the owner of the connection did not answer in time")]
    TimedOut,
}

/// Requests that wait for their answers.
#[derive(Default)]
pub(super) struct PendingRequests {
    next_id: AtomicU64,
    reply_senders: Mutex<HashMap<u64, oneshot::Sender<PeerReply>>>,
}

/// One of them. Dropped, nobody waits for its answer any more.
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
    /// Hands an answer to whoever waits for it; one that comes too late is dropped.
    pub(super) fn complete_request(&self, id: u64, answer: PeerReply) {
        if let Some(waiting) = self.reply_senders.lock().remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    fn register_request(&self) -> Option<(PendingRequest<'_>, oneshot::Receiver<PeerReply>)> {
        let (sender, receiver) = oneshot::channel();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.reply_senders.lock();
        if waiting.len() >= MAX_PENDING_REQUESTS {
            return None;
        }
        waiting.insert(id, sender);
        drop(waiting);
        Some((PendingRequest { requests: self, id }, receiver))
    }
}

impl BusState {
    /// Asks the owner of `node`. One publish there and one back. [`NodeLiveness`](super::NodeLiveness) decides how
    /// often that reads a lease.
    pub(super) async fn send_request(
        &self,
        node: u16,
        operation: &PeerOperation,
        text: &[u8],
    ) -> Result<PeerReply, RequestError> {
        let asked = tokio::time::timeout(self.settings.request_timeout, async {
            if !self.node_liveness.is_node_alive(node).await.map_err(RequestError::Liveness)? {
                return Err(RequestError::NoLeaseHolder);
            }
            self.metrics.peer_requests.inc();
            let (waiting, answer) = self.pending_requests.register_request().ok_or(RequestError::TooManyPending)?;
            let record = wire::request_record(waiting.id, operation, text);
            let topic = self.redis.prefixed_key(&redis_channel::channel_of_node(node));
            let request = Publication { redis_channel: topic, record, drop_policy: DropPolicy::Report };
            self.publish_queue.push(vec![request]).map_err(|_| RequestError::TooManyPending)?;
            // The sender stays in the table as long as `waiting` lives.
            answer.await.map_err(|_| RequestError::TimedOut)
        });
        asked.await.unwrap_or_else(|_| {
            self.metrics.peer_request_timeouts.inc();
            Err(RequestError::TimedOut)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_its_request_and_a_late_one_nobody() {
        let requests = PendingRequests::default();
        let (first, _abandoned) = requests.register_request().unwrap();
        let (second, answer) = requests.register_request().unwrap();
        requests.complete_request(second.id, PeerReply::Done);
        assert_eq!(answer.await, Ok(PeerReply::Done));
        let late = first.id;
        drop((first, second));
        requests.complete_request(late, PeerReply::Done);
        assert!(requests.reply_senders.lock().is_empty());
    }

    #[test]
    fn requests_are_bounded() {
        let requests = PendingRequests::default();
        let waiting: Vec<_> = (0..MAX_PENDING_REQUESTS).map(|_| requests.register_request().unwrap()).collect();
        assert!(requests.register_request().is_none());
        drop(waiting);
        assert!(requests.register_request().is_some());
    }
}
