//! The ledger: what was acknowledged, what was shown to whom, who is connected, and how long interruptions took.
//!
//! Invariant: it counts, and decides nothing while a run lasts; every contradiction is kept as a sentence, up to [`KEPT`] of
//! them and the number of all. What it adds up to is [`verdict`](super::verdict)'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::places::Reading;

/// Most contradictions that are kept as sentences.
const KEPT: usize = 20;

/// Everything that clients tell of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

/// What is in the ledger.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) channels: HashMap<String, Vec<Epoch>>,
    /// Whether a channel's past may be lost: Redis is going to lose its data.
    pub(super) may_lose: bool,
    pub(super) readings: Vec<Reading>,
    /// Connections that are open and have had their `welcome`.
    pub(super) live: BTreeSet<String>,
    /// Every connection that ever had one.
    pub(super) known: BTreeSet<String>,
    pub(super) interruptions: Vec<Interruption>,
    /// When clients began a handshake behind an end that they were told of with 1012.
    pub(super) reconnects: Vec<Instant>,
    pub(super) counts: Counts,
    pub(super) contradictions: Vec<String>,
    pub(super) contradicted: usize,
}

/// A channel's messages in one epoch: each has one place, one id, and one acknowledgement. A channel's epochs are in the
/// order in which they were first heard of.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    pub(super) name: String,
    pub(super) acknowledged: BTreeMap<u64, String>,
    shown: HashMap<u64, String>,
    places: HashMap<String, u64>,
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
pub struct Counts {
    /// Messages that clients showed.
    pub shown: u64,
    /// Messages that came again and were dropped by their offset, or were left to a resume.
    pub dropped: u64,
    /// Times that a client found an offset left out without a word and asked for it.
    pub jumps: u64,
    /// `gap` frames.
    pub gaps: u64,
    /// Those of them that told that a channel's past is gone.
    pub lost: u64,
    /// Sends that were answered `unavailable` and repeated.
    pub unavailable: u64,
    /// Sends that were repeated for want of an answer.
    pub repeated: u64,
    /// `degraded` frames that told of a beginning.
    pub degraded: u64,
    /// Handshakes that were refused or failed, by status; 0 where there was no answer.
    pub refused: BTreeMap<u16, u64>,
    /// Ends of connections that clients did not ask for, by close code.
    pub ended: BTreeMap<u16, u64>,
    /// Sends that wait for their acknowledgement now.
    #[serde(skip)]
    pub waiting: u64,
}

impl Ledger {
    /// Takes an acknowledgement in.
    pub(super) fn acknowledged(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut books = self.books();
        books.counts.waiting -= 1;
        let book = books.epoch(channel, epoch);
        let before = book.acknowledged.insert(offset, id.to_owned());
        if before.as_ref().is_some_and(|before| before != id) {
            books.contradict(format!("{channel} {offset} was acknowledged for {before:?} and for {id}"));
        }
    }

    /// Takes note that a client showed a message.
    pub(super) fn shown(&self, channel: &str, epoch: &str, offset: u64, id: &str) {
        let mut books = self.books();
        books.counts.shown += 1;
        let book = books.epoch(channel, epoch);
        if let Some(other) = book.shown.get(&offset).filter(|other| *other != id) {
            let sentence = format!("{channel} {offset} was shown as {other} and as {id}");
            return books.contradict(sentence);
        }
        let place = *book.places.entry(id.to_owned()).or_insert(offset);
        book.shown.entry(offset).or_insert_with(|| id.to_owned());
        if place != offset {
            books.contradict(format!("{id} was shown at {place} and again at {offset} of {channel}"));
        }
    }

    /// Takes note that a client was told that a channel's past is gone.
    pub(super) fn lost(&self, channel: &str, reason: &str) {
        let mut books = self.books();
        books.counts.lost += 1;
        if !books.may_lose {
            books.contradict(format!("{channel} has another epoch: {reason}"));
        }
    }

    /// From here on the past of channels may be lost.
    pub(super) fn may_lose(&self) {
        self.books().may_lose = true;
    }

    /// Takes note of something that must not be.
    pub(super) fn contradiction(&self, sentence: String) {
        self.books().contradict(sentence);
    }

    /// Takes note of a connection whose `welcome` came.
    pub(super) fn opened(&self, connection: &str) {
        let mut books = self.books();
        books.live.insert(connection.to_owned());
        if !books.known.insert(connection.to_owned()) {
            books.contradict(format!("the id {connection} was given twice"));
        }
    }

    /// Takes note of a connection's end.
    pub(super) fn closed(&self, connection: &str) {
        self.books().live.remove(connection);
    }

    /// Takes note that a client is back.
    pub(super) fn interrupted(&self, interruption: Interruption) {
        self.books().interruptions.push(interruption);
    }

    /// Takes note that a client which was sent away begins a handshake now.
    pub(super) fn reconnects(&self) {
        self.books().reconnects.push(Instant::now());
    }

    /// Takes note of what a client was shown in all.
    pub(super) fn read(&self, readings: Vec<Reading>) {
        self.books().readings.extend(readings);
    }

    /// Counts something.
    pub(super) fn count(&self, counting: impl FnOnce(&mut Counts)) {
        counting(&mut self.books().counts);
    }

    /// The connections that are open now, as their clients know them.
    #[must_use]
    pub fn live(&self) -> BTreeSet<String> {
        self.books().live.clone()
    }

    /// How many there are.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.books().live.len()
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.books().counts.clone()
    }

    /// All of it. A client that panicked has said what it had to say before.
    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn epoch(&mut self, channel: &str, name: &str) -> &mut Epoch {
        let epochs = self.channels.entry(channel.to_owned()).or_default();
        let place = epochs.iter().position(|epoch| epoch.name == name).unwrap_or_else(|| {
            epochs.push(Epoch { name: name.to_owned(), ..Epoch::default() });
            epochs.len() - 1
        });
        &mut epochs[place]
    }

    fn contradict(&mut self, sentence: String) {
        self.contradicted += 1;
        if self.contradictions.len() < KEPT {
            self.contradictions.push(sentence);
        }
    }
}
