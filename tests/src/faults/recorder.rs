//! The ledger: what was acknowledged, what was shown to whom, who is connected, and how long interruptions took.
//!
//! Invariant: it counts, and decides nothing while a run lasts; every contradiction is kept as a sentence, up to [`MAX_VIOLATION_SAMPLES`] of
//! them and the number of all. What it adds up to is [`verdict`](super::verdict)'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::channel_positions::ReadRange;

/// Most contradictions that are kept as sentences.
const MAX_VIOLATION_SAMPLES: usize = 20;

/// Everything that clients tell of a run.
#[derive(Debug, Default)]
pub struct RunRecorder {
    state: Mutex<RecordedState>,
}

/// What is in the ledger.
#[derive(Debug, Default)]
pub(super) struct RecordedState {
    pub(super) channels: HashMap<String, Vec<EpochRecord>>,
    /// Whether a channel's past may be lost: Redis is going to lose its data.
    pub(super) may_lose: bool,
    pub(super) read_ranges: Vec<ReadRange>,
    /// Connections that are open and have had their `welcome`.
    pub(super) open_connections: BTreeSet<String>,
    /// Every connection that ever had one.
    pub(super) all_connections: BTreeSet<String>,
    pub(super) interruptions: Vec<Interruption>,
    /// When clients began a handshake behind an end that they were told of with 1012.
    pub(super) reconnects: Vec<Instant>,
    pub(super) counts: RunCounts,
    pub(super) violation_samples: Vec<String>,
    pub(super) violation_count: usize,
}

/// A channel's messages in one epoch: each has one place, one id, and one acknowledgement. A channel's epochs are in the
/// order in which they were first heard of.
#[derive(Debug, Default)]
pub(super) struct EpochRecord {
    pub(super) name: String,
    pub(super) acknowledged: BTreeMap<u64, String>,
    delivered: HashMap<u64, String>,
    offsets_by_id: HashMap<String, u64>,
}

/// A client that was away.
#[derive(Debug, Clone, Copy)]
pub struct Interruption {
    /// The close code of the end; 1006 when there was none.
    pub code: u16,
    /// From the last frame before to `resumed` behind it.
    pub took: Duration,
}

/// What is only counted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunCounts {
    /// Messages that clients showed.
    pub delivered: u64,
    /// Messages that came again and were dropped by their offset, or were left to a resume.
    pub dropped: u64,
    /// Times that a client found an offset left out without a word and asked for it.
    pub out_of_order: u64,
    /// `gap` frames.
    pub gaps: u64,
    /// Those of them that told that a channel's past is gone.
    pub epoch_losses: u64,
    /// Sends that were answered `unavailable` and repeated.
    pub unavailable: u64,
    /// Sends that were repeated for want of an answer.
    pub repeated: u64,
    /// `degraded` frames that told of a beginning.
    pub degraded: u64,
    /// Handshakes that were refused or failed, by status; 0 where there was no answer.
    pub rejected_handshakes: BTreeMap<u16, u64>,
    /// Ends of connections that clients did not ask for, by close code.
    pub closes_by_code: BTreeMap<u16, u64>,
    /// Sends that wait for their acknowledgement now.
    #[serde(skip)]
    pub waiting: u64,
}

impl RunRecorder {
    /// Takes an acknowledgement in.
    pub(super) fn record_ack(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut books = self.lock_state();
        books.counts.waiting -= 1;
        let book = books.epoch(channel, epoch);
        let before = book.acknowledged.insert(offset, id.to_owned());
        if before.as_ref().is_some_and(|before| before != id) {
            books.add_violation(format!("{channel} {offset} was acknowledged for {before:?} and for {id}"));
        }
    }

    /// Takes note that a client showed a message.
    pub(super) fn record_delivery(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut books = self.lock_state();
        books.counts.delivered += 1;
        let book = books.epoch(channel, epoch);
        if let Some(other) = book.delivered.get(&offset).filter(|other| *other != id) {
            let sentence = format!("{channel} {offset} was shown as {other} and as {id}");
            return books.add_violation(sentence);
        }
        let place = *book.offsets_by_id.entry(id.to_owned()).or_insert(offset);
        book.delivered.entry(offset).or_insert_with(|| id.to_owned());
        if place != offset {
            books.add_violation(format!("{id} was shown at {place} and again at {offset} of {channel}"));
        }
    }

    /// Takes note that a client was told that a channel's past is gone.
    pub(super) fn record_epoch_loss(&self, channel: &str, reason: &str) {
        let mut books = self.lock_state();
        books.counts.epoch_losses += 1;
        if !books.may_lose {
            books.add_violation(format!("{channel} has another epoch: {reason}"));
        }
    }

    /// From here on the past of channels may be lost.
    pub(super) fn allow_data_loss(&self) {
        self.lock_state().may_lose = true;
    }

    /// Takes note of something that must not be.
    pub(super) fn record_violation(&self, sentence: String) {
        self.lock_state().add_violation(sentence);
    }

    /// Takes note of a connection whose `welcome` came.
    pub(super) fn record_open(&self, connection: &str) {
        let mut books = self.lock_state();
        books.open_connections.insert(connection.to_owned());
        if !books.all_connections.insert(connection.to_owned()) {
            books.add_violation(format!("the id {connection} was given twice"));
        }
    }

    /// Takes note of a connection's end.
    pub(super) fn record_close(&self, connection: &str) {
        self.lock_state().open_connections.remove(connection);
    }

    /// Takes note that a client is back.
    pub(super) fn record_interruption(&self, interruption: Interruption) {
        self.lock_state().interruptions.push(interruption);
    }

    /// Takes note that a client which was sent away begins a handshake now.
    pub(super) fn record_reconnect(&self) {
        self.lock_state().reconnects.push(Instant::now());
    }

    /// Takes note of what a client was shown in all.
    pub(super) fn record_read_ranges(&self, readings: Vec<ReadRange>) {
        self.lock_state().read_ranges.extend(readings);
    }

    /// Counts something.
    pub(super) fn update_counts(&self, counting: impl FnOnce(&mut RunCounts)) {
        counting(&mut self.lock_state().counts);
    }

    /// The connections that are open now, as their clients know them.
    #[must_use]
    pub fn open_connections(&self) -> BTreeSet<String> {
        self.lock_state().open_connections.clone()
    }

    /// How many there are.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.lock_state().open_connections.len()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> RunCounts {
        self.lock_state().counts.clone()
    }

    /// All of it. A client that panicked has said what it had to say before.
    pub(super) fn lock_state(&self) -> MutexGuard<'_, RecordedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordedState {
    fn epoch(&mut self, channel: &str, name: &str) -> &mut EpochRecord {
        let epochs = self.channels.entry(channel.to_owned()).or_default();
        let place = epochs.iter().position(|epoch| epoch.name == name).unwrap_or_else(|| {
            epochs.push(EpochRecord { name: name.to_owned(), ..EpochRecord::default() });
            epochs.len() - 1
        });
        &mut epochs[place]
    }

    fn add_violation(&mut self, sentence: String) {
        self.violation_count += 1;
        if self.violation_samples.len() < MAX_VIOLATION_SAMPLES {
            self.violation_samples.push(sentence);
        }
    }
}
