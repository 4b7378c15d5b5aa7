//! Recorder of a run: acknowledged messages, delivered messages, open connections, and interruptions.
//!
//! It only counts and stores violations as sentences, the first [`MAX_VIOLATION_SAMPLES`] of them;
//! [`analysis`](super::analysis) evaluates the counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::channel_positions::ReadRange;
use super::latency::{LatencyRecord, RunLatencies};

/// Maximum number of violations stored as sentences.
const MAX_VIOLATION_SAMPLES: usize = 20;

/// Thread-safe recorder that all clients of a run report to.
#[derive(Debug, Default)]
pub struct RunRecorder {
    state: Mutex<RecordedState>,
}

/// Recorded data.
#[derive(Debug, Default)]
pub(super) struct RecordedState {
    pub(super) channels: HashMap<String, Vec<EpochRecord>>,
    /// Whether epoch losses are allowed, because the fault discards the data of Redis.
    pub(super) may_lose: bool,
    pub(super) read_ranges: Vec<ReadRange>,
    /// Open connections that have received `welcome`.
    pub(super) open_connections: BTreeSet<String>,
    /// Every connection that ever received `welcome`.
    pub(super) all_connections: BTreeSet<String>,
    pub(super) interruptions: Vec<Interruption>,
    /// Times at which clients started a handshake after a close with 1012.
    pub(super) reconnects: Vec<Instant>,
    pub(super) counts: RunCounts,
    pub(super) violation_samples: Vec<String>,
    pub(super) violation_count: usize,
    latencies: LatencyRecord,
}

/// A channel's messages in one epoch: each has one offset, one id, and one acknowledgement. The epochs of a channel
/// are in the order of their first appearance.
#[derive(Debug, Default)]
pub(super) struct EpochRecord {
    pub(super) name: String,
    pub(super) acknowledged: BTreeMap<u64, String>,
    delivered: HashMap<u64, String>,
    offsets_by_id: HashMap<String, u64>,
}

/// Interruption of a client.
#[derive(Debug, Clone, Copy)]
pub struct Interruption {
    /// Close code of the ended connection; 1006 without a close frame.
    pub code: u16,
    /// Time from the last frame before the end to the `resumed` after it.
    pub took: Duration,
}

/// Plain counters.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunCounts {
    /// Messages delivered to clients.
    pub delivered: u64,
    /// Messages dropped because their offset was delivered before or a resume was in progress.
    pub dropped: u64,
    /// Missing offsets that a client detected without a `gap` and requested.
    pub out_of_order: u64,
    /// `gap` frames.
    pub gaps: u64,
    /// `gap` frames that report the loss of an epoch.
    pub epoch_losses: u64,
    /// Sends rejected as `unavailable` and repeated.
    pub unavailable: u64,
    /// Commands answered `gone`.
    pub gone: u64,
    /// Sends repeated because no reply arrived.
    pub repeated: u64,
    /// `degraded` frames with state `began`.
    pub degraded: u64,
    /// Rejected or failed handshakes by status; 0 without a response.
    pub rejected_handshakes: BTreeMap<u16, u64>,
    /// Closes that clients did not initiate, by close code.
    pub closes_by_code: BTreeMap<u16, u64>,
    /// Sends that wait for their acknowledgement.
    #[serde(skip)]
    pub waiting: u64,
}

impl RunRecorder {
    /// Records an acknowledgement.
    pub(super) fn record_ack(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut state = self.lock_state();
        state.counts.waiting -= 1;
        let record = state.epoch(channel, epoch);
        let before = record.acknowledged.insert(offset, id.to_owned());
        if before.as_ref().is_some_and(|before| before != id) {
            state.add_violation(format!("{channel} offset {offset} was acknowledged for both {before:?} and {id}"));
        }
    }

    /// Records that a client delivered a message.
    pub(super) fn record_delivery(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut state = self.lock_state();
        state.counts.delivered += 1;
        state.latencies.record_delivery(id);
        let record = state.epoch(channel, epoch);
        if let Some(other) = record.delivered.get(&offset).filter(|other| *other != id) {
            let sentence = format!("{channel} offset {offset} was delivered as both {other} and {id}");
            return state.add_violation(sentence);
        }
        let first = *record.offsets_by_id.entry(id.to_owned()).or_insert(offset);
        record.delivered.entry(offset).or_insert_with(|| id.to_owned());
        if first != offset {
            state.add_violation(format!("{id} was delivered at offsets {first} and {offset} of {channel}"));
        }
    }

    /// Records that a client received a `gap` for the loss of an epoch.
    pub(super) fn record_epoch_loss(&self, channel: &str, reason: &str) {
        let mut state = self.lock_state();
        state.counts.epoch_losses += 1;
        if !state.may_lose {
            state.add_violation(format!("unexpected epoch change of {channel}: {reason}"));
        }
    }

    /// Allows epoch losses from now on.
    pub(super) fn allow_data_loss(&self) {
        self.lock_state().may_lose = true;
    }

    /// Records a handshake that took this long.
    pub(super) fn record_connect(&self, took: Duration) {
        self.lock_state().latencies.record_connect(took);
    }

    /// Records that a client sends a message now.
    pub(super) fn record_send(&self, id: &str) {
        self.lock_state().latencies.record_send(id);
    }

    /// Returns the latencies since the start of the run.
    #[must_use]
    pub fn latencies(&self) -> RunLatencies {
        self.lock_state().latencies.summary()
    }

    /// Records a violation.
    pub(super) fn record_violation(&self, sentence: String) {
        self.lock_state().add_violation(sentence);
    }

    /// Records a connection that received `welcome`.
    pub(super) fn record_open(&self, connection: &str) {
        let mut state = self.lock_state();
        state.open_connections.insert(connection.to_owned());
        if !state.all_connections.insert(connection.to_owned()) {
            state.add_violation(format!("connection id {connection} was assigned twice"));
        }
    }

    /// Records the end of a connection.
    pub(super) fn record_close(&self, connection: &str) {
        self.lock_state().open_connections.remove(connection);
    }

    /// Records the interruption of a client that has resumed.
    pub(super) fn record_interruption(&self, interruption: Interruption) {
        self.lock_state().interruptions.push(interruption);
    }

    /// Records that a drained client starts a handshake now.
    pub(super) fn record_reconnect(&self) {
        self.lock_state().reconnects.push(Instant::now());
    }

    /// Records the delivered ranges of a client at its end.
    pub(super) fn record_read_ranges(&self, ranges: Vec<ReadRange>) {
        self.lock_state().read_ranges.extend(ranges);
    }

    /// Updates the counters.
    pub(super) fn update_counts(&self, update: impl FnOnce(&mut RunCounts)) {
        update(&mut self.lock_state().counts);
    }

    /// Returns the connections that are open according to their clients.
    #[must_use]
    pub fn open_connections(&self) -> BTreeSet<String> {
        self.lock_state().open_connections.clone()
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.lock_state().open_connections.len()
    }

    /// Returns a copy of the counters.
    #[must_use]
    pub fn counts(&self) -> RunCounts {
        self.lock_state().counts.clone()
    }

    /// Locks the recorded data. A panicked client leaves it consistent, so poisoning is ignored.
    pub(super) fn lock_state(&self) -> MutexGuard<'_, RecordedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecordedState {
    fn epoch(&mut self, channel: &str, name: &str) -> &mut EpochRecord {
        let epochs = self.channels.entry(channel.to_owned()).or_default();
        let index = epochs.iter().position(|epoch| epoch.name == name).unwrap_or_else(|| {
            epochs.push(EpochRecord { name: name.to_owned(), ..EpochRecord::default() });
            epochs.len() - 1
        });
        &mut epochs[index]
    }

    fn add_violation(&mut self, sentence: String) {
        self.violation_count += 1;
        if self.violation_samples.len() < MAX_VIOLATION_SAMPLES {
            self.violation_samples.push(sentence);
        }
    }
}
