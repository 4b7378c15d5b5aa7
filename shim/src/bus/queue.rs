//! What waits to be published: bounded in bytes and in number.
//!
//! Invariant: pushing never waits. At the bound a logged message is dropped (its receivers fill it from the log) and
//! everything else refused; ephemeral frames are refused from half of it on, so that typing never costs a message.

use std::collections::VecDeque;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a queued record costs beside its bytes: topic, slot.
const OVERHEAD: usize = 128;

/// What becomes of a record that cannot be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Nothing: it is worthless when late.
    Ephemeral,
    /// It is in a log, from which its receivers fill it.
    Logged,
    /// Whoever sent it is told.
    Unlogged,
}

/// A record and the topic that it goes to.
#[derive(Debug)]
pub struct Publication {
    /// The whole topic, prefix and all.
    pub topic: String,
    /// The record.
    pub record: BytesMut,
    /// What it is worth.
    pub worth: Worth,
}

/// The queue has no room for a record of that worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much waits to be published")]
pub struct Full;

/// The queue.
pub struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    bound: usize,
}

#[derive(Default)]
struct Waiting {
    publications: VecDeque<Publication>,
    bytes: usize,
}

impl Queue {
    /// A queue of at most `bound` bytes.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self { waiting: Mutex::default(), filled: Notify::new(), bound }
    }

    /// Puts publications in line, all of them or none.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&self, publications: Vec<Publication>) -> Result<(), Full> {
        let cost: usize = publications.iter().map(Publication::cost).sum();
        let ephemeral = publications.iter().all(|publication| publication.worth == Worth::Ephemeral);
        let bound = if ephemeral { self.bound / 2 } else { self.bound };
        let mut waiting = self.waiting.lock();
        if waiting.bytes + cost > bound {
            return Err(Full);
        }
        waiting.bytes += cost;
        waiting.publications.extend(publications);
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes what waits, up to about `bytes`; waits while nothing does. For one taker at a time.
    pub async fn take(&self, bytes: usize) -> Vec<Publication> {
        loop {
            let taken = self.take_ready(bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    /// Takes what waits, up to about `bytes`.
    pub fn take_ready(&self, bytes: usize) -> Vec<Publication> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        let mut cost = 0;
        while cost < bytes {
            let Some(publication) = waiting.publications.pop_front() else { break };
            cost += publication.cost();
            taken.push(publication);
        }
        waiting.bytes -= cost;
        taken
    }
}

impl Publication {
    fn cost(&self) -> usize {
        self.record.len() + OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(worth: Worth) -> Vec<Publication> {
        vec![Publication { topic: "t".into(), record: BytesMut::zeroed(1000 - OVERHEAD), worth }]
    }

    #[test]
    fn ephemeral_frames_leave_room_for_messages() {
        let queue = Queue::new(4000);
        assert_eq!([(); 3].map(|()| queue.push(publication(Worth::Ephemeral)).is_ok()), [true, true, false]);
        let logged = [(); 3].map(|()| queue.push(publication(Worth::Logged)).is_ok());
        assert_eq!(logged, [true, true, false]);
        assert_eq!(queue.push(publication(Worth::Unlogged)), Err(Full));
        assert_eq!(queue.take_ready(2500).len(), 3);
        assert_eq!(queue.push(publication(Worth::Ephemeral)), Ok(()));
    }

    #[tokio::test]
    async fn a_taker_waits_for_the_first_and_takes_all_in_order() {
        let queue = Queue::new(10_000);
        let taking = queue.take(10_000);
        let pushing = async {
            tokio::task::yield_now().await;
            for (number, worth) in [Worth::Ephemeral, Worth::Logged, Worth::Unlogged].into_iter().enumerate() {
                let record = BytesMut::zeroed(number);
                queue.push(vec![Publication { topic: number.to_string(), record, worth }]).unwrap();
            }
        };
        let (taken, ()) = tokio::join!(taking, pushing);
        let topics: Vec<_> = taken.iter().map(|publication| publication.topic.as_str()).collect();
        assert_eq!(topics, ["0", "1", "2"]);
    }
}
