//! What waits to be published: bounded in bytes and in number.
//!
//! Invariant: pushing never waits. At the bound a logged message is dropped (its receivers fill it from the log) and
//! everything else refused; ephemeral frames are refused from half of it on, so that typing never costs a message.

use std::collections::VecDeque;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a queued record costs beside its bytes: topic, slot.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// What becomes of a record that cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropPolicy {
    /// Nothing: it is worthless when late.
    Ephemeral,
    /// It is in a log, from which its receivers fill it.
    Recoverable,
    /// Whoever sent it is told.
    Report,
}

/// A record and the topic that it goes to.
#[derive(Debug)]
pub struct Publication {
    /// The whole topic, prefix and all.
    pub redis_channel: String,
    /// The record.
    pub record: BytesMut,
    /// What it is worth.
    pub drop_policy: DropPolicy,
}

/// The queue has no room for a record of that worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much waits to be published")]
pub struct QueueFullError;

/// The queue.
pub struct PublishQueue {
    queued: Mutex<QueuedPublications>,
    not_empty: Notify,
    max_bytes: usize,
}

#[derive(Default)]
struct QueuedPublications {
    publications: VecDeque<Publication>,
    bytes: usize,
}

impl PublishQueue {
    /// A queue of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { queued: Mutex::default(), not_empty: Notify::new(), max_bytes: bound }
    }

    /// Puts publications in line, all of them or none.
    ///
    /// # Errors
    /// [`QueueFullError`].
    pub fn push(&self, publications: Vec<Publication>) -> Result<(), QueueFullError> {
        let cost: usize = publications.iter().map(Publication::memory_bytes).sum();
        let ephemeral = publications.iter().all(|publication| publication.drop_policy == DropPolicy::Ephemeral);
        let bound = if ephemeral { self.max_bytes / 2 } else { self.max_bytes };
        let mut waiting = self.queued.lock();
        if waiting.bytes + cost > bound {
            return Err(QueueFullError);
        }
        waiting.bytes += cost;
        waiting.publications.extend(publications);
        drop(waiting);
        self.not_empty.notify_one();
        Ok(())
    }

    /// Takes what waits, up to about `bytes`; waits while nothing does. For one taker at a time.
    pub async fn take_batch(&self, bytes: usize) -> Vec<Publication> {
        loop {
            let taken = self.try_take_batch(bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.not_empty.notified().await;
        }
    }

    /// Takes what waits, up to about `bytes`.
    pub fn try_take_batch(&self, bytes: usize) -> Vec<Publication> {
        let mut waiting = self.queued.lock();
        let mut taken = Vec::new();
        let mut cost = 0;
        while cost < bytes {
            let Some(publication) = waiting.publications.pop_front() else { break };
            cost += publication.memory_bytes();
            taken.push(publication);
        }
        waiting.bytes -= cost;
        taken
    }
}

impl Publication {
    fn memory_bytes(&self) -> usize {
        self.record.len() + RECORD_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(drop_policy: DropPolicy) -> Vec<Publication> {
        vec![Publication {
            redis_channel: "t".into(),
            record: BytesMut::zeroed(1000 - RECORD_OVERHEAD_BYTES),
            drop_policy,
        }]
    }

    #[test]
    fn ephemeral_frames_leave_room_for_messages() {
        let queue = PublishQueue::new(4000);
        assert_eq!([(); 3].map(|()| queue.push(publication(DropPolicy::Ephemeral)).is_ok()), [true, true, false]);
        let logged = [(); 3].map(|()| queue.push(publication(DropPolicy::Recoverable)).is_ok());
        assert_eq!(logged, [true, true, false]);
        assert_eq!(queue.push(publication(DropPolicy::Report)), Err(QueueFullError));
        assert_eq!(queue.try_take_batch(2500).len(), 3);
        assert_eq!(queue.push(publication(DropPolicy::Ephemeral)), Ok(()));
    }

    #[tokio::test]
    async fn a_taker_waits_for_the_first_and_takes_all_in_order() {
        let queue = PublishQueue::new(10_000);
        let taking = queue.take_batch(10_000);
        let pushing = async {
            tokio::task::yield_now().await;
            for (number, drop_policy) in
                [DropPolicy::Ephemeral, DropPolicy::Recoverable, DropPolicy::Report].into_iter().enumerate()
            {
                let record = BytesMut::zeroed(number);
                queue.push(vec![Publication { redis_channel: number.to_string(), record, drop_policy }]).unwrap();
            }
        };
        let (taken, ()) = tokio::join!(taking, pushing);
        let topics: Vec<_> = taken.iter().map(|publication| publication.redis_channel.as_str()).collect();
        assert_eq!(topics, ["0", "1", "2"]);
    }
}
