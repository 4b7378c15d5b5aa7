//! Asking the pod that owns a connection.
//!
//! Invariant: every request ends, with the owner's answer or an error, within its deadline. Bounds: [`MOST_WAITING`]
//! requests at a time, more are refused.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::queue::{Publication, Worth};
use super::wire::{self, Answer, Operation};
use super::{Shared, topic};
use crate::redis::RedisTrouble;

/// Most requests that wait for an answer.
const MOST_WAITING: usize = 4_096;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nobody holds the node's lease: none of its connections is open.
    #[error("nobody owns the connection's node")]
    NobodyThere,
    /// Redis does not say who lives.
    #[error("asking who owns a node")]
    Liveness(#[source] RedisTrouble),
    /// Too many requests wait, or too much to be published.
    #[error("too many requests to other pods")]
    TooMany,
    /// No answer came in time.
    #[error("the owner of the connection did not answer in time")]
    TimedOut,
}

/// Requests that wait for their answers.
#[derive(Default)]
pub(super) struct Requests {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// One of them. Dropped, nobody waits for its answer any more.
struct Waiting<'r> {
    requests: &'r Requests,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.requests.waiting.lock().remove(&self.id);
    }
}

impl Requests {
    /// Hands an answer to whoever waits for it; one that comes too late is dropped.
    pub(super) fn answered(&self, id: u64, answer: Answer) {
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    fn begin(&self) -> Option<(Waiting<'_>, oneshot::Receiver<Answer>)> {
        let (sender, receiver) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST_WAITING {
            return None;
        }
        waiting.insert(id, sender);
        drop(waiting);
        Some((Waiting { requests: self, id }, receiver))
    }
}

impl Shared {
    /// Asks the owner of `node`. One publish there and one back. [`Nodes`](super::Nodes) decides how
    /// often that reads a lease.
    pub(super) async fn ask(&self, node: u16, operation: &Operation, text: &[u8]) -> Result<Answer, AskError> {
        let asked = tokio::time::timeout(self.settings.request, async {
            if !self.nodes.is_alive(node).await.map_err(AskError::Liveness)? {
                return Err(AskError::NobodyThere);
            }
            self.metrics.requests.inc();
            let (waiting, answer) = self.requests.begin().ok_or(AskError::TooMany)?;
            let record = wire::request_record(waiting.id, operation, text);
            let topic = self.redis.key(&topic::of_node(node));
            let request = Publication { topic, record, worth: Worth::Unlogged };
            self.queue.push(vec![request]).map_err(|_| AskError::TooMany)?;
            // The sender stays in the table as long as `waiting` lives.
            answer.await.map_err(|_| AskError::TimedOut)
        });
        asked.await.unwrap_or_else(|_| {
            self.metrics.timeouts.inc();
            Err(AskError::TimedOut)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_finds_its_request_and_a_late_one_nobody() {
        let requests = Requests::default();
        let (first, _abandoned) = requests.begin().unwrap();
        let (second, answer) = requests.begin().unwrap();
        requests.answered(second.id, Answer::Done);
        assert_eq!(answer.await, Ok(Answer::Done));
        let late = first.id;
        drop((first, second));
        requests.answered(late, Answer::Done);
        assert!(requests.waiting.lock().is_empty());
    }

    #[test]
    fn requests_are_bounded() {
        let requests = Requests::default();
        let waiting: Vec<_> = (0..MOST_WAITING).map(|_| requests.begin().unwrap()).collect();
        assert!(requests.begin().is_none());
        drop(waiting);
        assert!(requests.begin().is_some());
    }
}
