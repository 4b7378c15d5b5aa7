//! Bounded queue of records to publish.
//!
//! Pushing never blocks. When the queue is full, a push is rejected: messages in a log are then backfilled by their
//! receivers, and the sender of any other message receives an error. Ephemeral frames are rejected when the queue is
//! half full, so that they never displace messages.

use std::collections::VecDeque;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Memory of a queued record in addition to its payload, in bytes: its slot and the name of the Redis channel.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Handling of a record that cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropPolicy {
    /// Dropped: it is of no use when late.
    Ephemeral,
    /// Dropped: it is in a log, from which its receivers backfill it.
    Recoverable,
    /// Reported to its sender as an error.
    Report,
}

/// A record and its destination.
#[derive(Debug)]
pub struct Publication {
    /// Name of the Redis channel, including the key prefix.
    pub redis_channel: String,
    /// Encoded record.
    pub record: BytesMut,
    /// Handling of the record if it cannot be published.
    pub drop_policy: DropPolicy,
}

/// The queue has no room for a record with this drop policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("publish queue full")]
pub struct QueueFullError;

/// Bounded queue between the senders and the publisher task.
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
    /// Creates a queue of at most `max_bytes` bytes.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self { queued: Mutex::default(), not_empty: Notify::new(), max_bytes }
    }

    /// Queues all of `publications` or none of them.
    ///
    /// # Errors
    /// [`QueueFullError`] if they do not fit.
    pub fn push(&self, publications: Vec<Publication>) -> Result<(), QueueFullError> {
        let cost: usize = publications.iter().map(Publication::memory_bytes).sum();
        let ephemeral = publications.iter().all(|publication| publication.drop_policy == DropPolicy::Ephemeral);
        let limit = if ephemeral { self.max_bytes / 2 } else { self.max_bytes };
        let mut queued = self.queued.lock();
        if queued.bytes + cost > limit {
            return Err(QueueFullError);
        }
        queued.bytes += cost;
        queued.publications.extend(publications);
        drop(queued);
        self.not_empty.notify_one();
        Ok(())
    }

    /// Removes publications until at least `bytes` bytes were taken; waits while the queue is empty. For a single
    /// consumer.
    pub async fn take_batch(&self, bytes: usize) -> Vec<Publication> {
        loop {
            let batch = self.try_take_batch(bytes);
            if !batch.is_empty() {
                return batch;
            }
            self.not_empty.notified().await;
        }
    }

    /// Removes publications until at least `bytes` bytes were taken or the queue is empty.
    pub fn try_take_batch(&self, bytes: usize) -> Vec<Publication> {
        let mut queued = self.queued.lock();
        let mut batch = Vec::new();
        let mut cost = 0;
        while cost < bytes {
            let Some(publication) = queued.publications.pop_front() else { break };
            cost += publication.memory_bytes();
            batch.push(publication);
        }
        queued.bytes -= cost;
        batch
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
    async fn a_consumer_waits_for_the_first_record_and_takes_all_in_order() {
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
        let (batch, ()) = tokio::join!(taking, pushing);
        let redis_channels: Vec<_> = batch.iter().map(|publication| publication.redis_channel.as_str()).collect();
        assert_eq!(redis_channels, ["0", "1", "2"]);
    }
}
