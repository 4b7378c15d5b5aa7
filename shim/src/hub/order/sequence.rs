//! The order of one channel at this process: what was passed on, what waits for a hole to be filled, and who is withheld.
//!
//! Invariant: placed messages leave in the order of their offsets, each once. A message that arrives early waits; one
//! whose offset was already passed on is dropped. The first release or message that is ever seen sets the start: an earlier
//! message that arrives behind it is passed on late rather than lost. Among several pods the start is looked for in the log
//! (`fill::begin`), because another pod's message may have been overtaken. Pure state: no I/O, no time, no lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use gateway::id::GatewayId;
use handlers::channel::{Epoch, Position};
use handlers::ports::{Priority, Released};

use crate::connection::Queued;

/// Most messages that wait behind a hole. What comes beyond it is left to the log, like what is missing.
pub(super) const MOST_WAITING: usize = 1_024;
/// How far behind the passed offsets a mark is kept, for messages that are still on their way.
const MARK_WINDOW: u64 = 256;
/// Messages that are passed on again where a log goes on in another epoch: more than what a master that failed can have
/// kept from the replica that took over, whose offsets have been given out again since.
const OVERLAP: u64 = 100;
/// Most messages that are passed on from a log that is shorter than what was passed on before: all of them, when it is
/// noticed as soon as it happens.
const MOST_ANEW: u64 = 1_000;

/// A message on its way through the sequence.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its lane.
    pub priority: Priority,
    /// The frame.
    pub queued: Queued,
}

/// What is withheld from a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Everything: its resume is reading the log.
    Held,
    /// What it has already been sent from the log: offsets up to this one.
    Through(u64),
}

/// What to do with a message that arrived.
#[derive(Debug)]
pub enum Accepted {
    /// Pass these on, in this order.
    Pass(Vec<(u64, Item)>),
    /// It waits: the offsets from `missing` on have not arrived.
    Waits {
        /// The first offset that is missing.
        missing: u64,
    },
    /// It belongs to another epoch than what was passed on. It is dropped, because the log has it if that epoch is the
    /// present one; the log is to be asked, from offset `missing` on.
    Foreign {
        /// The next offset in the epoch that was passed on.
        missing: u64,
    },
    /// It was passed on before.
    Duplicate,
}

/// One channel's order.
#[derive(Debug, Default)]
pub struct Sequence {
    epoch: Option<Epoch>,
    base: u64,
    next: Option<u64>,
    /// The log is known to reach to here, although nothing may wait.
    known: u64,
    /// The last position that was heard of in another epoch, until the log has said which one is the present one.
    foreign: Option<Position>,
    /// What was passed on late, from before `base`; at most [`MARK_WINDOW`] of them.
    late: BTreeSet<u64>,
    waiting: BTreeMap<u64, Item>,
    marks: HashMap<GatewayId, Mark>,
    /// How many marks are [`Mark::Held`].
    held: usize,
    /// No [`Mark::Through`] is higher: messages behind it need no look at the marks.
    highest: u64,
}

impl Sequence {
    /// Takes a message in.
    pub fn accept(&mut self, position: &Position, item: Item) -> Accepted {
        let offset = position.offset.0;
        if self.epoch.as_ref() != Some(&position.epoch) {
            return self.accept_foreign(position, item);
        }
        match self.next {
            Some(next) if offset == next => Accepted::Pass(self.pass_from(offset, item)),
            Some(next) if offset > next => self.wait(offset, next, item),
            // What is so far behind the end is a repeat of something that an earlier process delivered.
            Some(next) if offset >= self.base || offset + MARK_WINDOW < next => Accepted::Duplicate,
            Some(_) if !self.late.insert(offset) => Accepted::Duplicate,
            Some(_) => Accepted::Pass(vec![(offset, item)]),
            None => {
                self.base = offset;
                Accepted::Pass(self.pass_from(offset, item))
            }
        }
    }

    /// Whether a message at `position` is the first that is heard of a channel which has had others before.
    pub fn is_first_heard(&self, position: &Position) -> bool {
        let known = self.epoch.as_ref().is_none_or(|epoch| *epoch == position.epoch);
        known && self.next.is_none() && position.offset.0 > 1
    }

    /// Keeps a message that is heard first until [`Self::begin_at`]; `false` when there is no room for more.
    pub fn keep(&mut self, position: &Position, item: Item) -> bool {
        self.epoch.get_or_insert_with(|| position.epoch.clone());
        self.waiting.entry(position.offset.0).or_insert(item);
        self.waiting.len() < MOST_WAITING
    }

    /// Sets the start, unless a release or the log's first message has set it meanwhile, and returns what can go out.
    pub fn begin_at(&mut self, offset: u64) -> Vec<(u64, Item)> {
        let next = *self.next.get_or_insert_with(|| {
            self.base = offset;
            offset
        });
        let behind = self.waiting.split_off(&next);
        let before = std::mem::replace(&mut self.waiting, behind);
        let mut passed: Vec<_> = before.into_iter().filter(|(offset, _)| self.late.insert(*offset)).collect();
        passed.extend(self.take_ready());
        passed
    }

    /// Gives up on the offsets before `offset`: the log does not have them either.
    pub fn skip_to(&mut self, offset: u64) -> Vec<(u64, Item)> {
        if self.next.is_some_and(|next| next < offset) {
            self.next = Some(offset);
        }
        self.take_ready()
    }

    /// The first offset that is missing while others wait behind it, while the log is known to have it, or while it may be
    /// one of another epoch.
    pub fn missing(&self) -> Option<u64> {
        self.next.filter(|next| !self.waiting.is_empty() || *next <= self.known || self.foreign.is_some())
    }

    /// Takes note that the log is still in this epoch: messages of another one come from before it.
    pub fn note_epoch(&mut self) {
        self.foreign = None;
    }

    /// Takes note of where the log ends. Returns the first offset that was not passed on, if there is one; an end in
    /// another epoch counts as one, because only the log itself can tell which epoch is the present one.
    pub fn note_end(&mut self, end: &Position) -> Option<u64> {
        self.next?;
        if self.epoch.as_ref() == Some(&end.epoch) {
            self.known = self.known.max(end.offset.0);
        } else {
            self.note_foreign(end);
        }
        self.missing()
    }

    /// Which incarnation of the log this is the order of.
    pub const fn epoch(&self) -> Option<&Epoch> {
        self.epoch.as_ref()
    }

    /// Whether an epoch is another one than that of what was passed on.
    pub fn is_foreign(&self, epoch: &Epoch) -> bool {
        self.next.is_some() && self.epoch.as_ref().is_some_and(|known| known != epoch)
    }

    /// Goes on in another epoch, whose log ends at `end`. Returns the offset up to which readers will not be sent anything
    /// of it, and what still waited. A log that is shorter than before has lost what was passed on, and readers have seen
    /// little or nothing of what it has now; one that is not goes on where it was.
    pub fn begin_anew(&mut self, end: &Position) -> (u64, Vec<(u64, Item)>) {
        let (head, passed) = (end.offset.0, self.next.map_or(0, |next| next - 1));
        let again = if head < passed { head.saturating_sub(MOST_ANEW) } else { passed.saturating_sub(OVERLAP) };
        let told = self.foreign.take().filter(|foreign| foreign.epoch == end.epoch);
        let waited = self.reset(&end.epoch, again + 1);
        (self.next, self.known) = (Some(again + 1), told.map_or(head, |told| head.max(told.offset.0)));
        (again, waited)
    }

    /// The first offset that waits.
    pub fn first_waiting(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// Withholds everything from a connection until it is released.
    pub fn hold(&mut self, connection: GatewayId) {
        self.forget(connection);
        self.marks.insert(connection, Mark::Held);
        self.held += 1;
    }

    /// Lets live messages behind `through` flow to a connection, unless the channel has passed on more than that.
    pub fn release(&mut self, connection: GatewayId, through: &Position) -> Released {
        if self.epoch.is_none() {
            self.epoch = Some(through.epoch.clone());
        }
        let same_epoch = self.epoch.as_ref() == Some(&through.epoch);
        let through = through.offset.0;
        if let Some(next) = self.next.filter(|next| same_epoch && through + 1 < *next) {
            return Released::Behind(handlers::channel::Offset(next - 1));
        }
        self.forget(connection);
        if same_epoch {
            // Kept also where live messages follow at once: one from before the start may still be passed on, late.
            self.marks.insert(connection, Mark::Through(through));
            self.highest = self.highest.max(through);
        }
        if same_epoch && self.next.is_none() {
            // Who was caught up to here sees the next message first, whichever arrives first.
            (self.base, self.next) = (through + 1, Some(through + 1));
        }
        Released::Live
    }

    /// Forgets what was withheld from a connection.
    pub fn forget(&mut self, connection: GatewayId) {
        if self.marks.remove(&connection) == Some(Mark::Held) {
            self.held -= 1;
        }
    }

    /// Whether a message at `offset` is withheld from a connection.
    pub fn withholds(&self, connection: GatewayId, offset: u64) -> bool {
        if self.held == 0 && offset > self.highest {
            return false;
        }
        match self.marks.get(&connection) {
            None => false,
            Some(Mark::Held) => true,
            Some(Mark::Through(through)) => offset <= *through,
        }
    }

    /// Whether nothing would be lost by dropping this state after a long silence.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.held == 0
    }

    fn reset(&mut self, epoch: &Epoch, base: u64) -> Vec<(u64, Item)> {
        self.marks.retain(|_, mark| *mark == Mark::Held);
        self.late.clear();
        (self.highest, self.known, self.base) = (0, 0, base);
        self.epoch = Some(epoch.clone());
        std::mem::take(&mut self.waiting).into_iter().collect()
    }

    fn accept_foreign(&mut self, position: &Position, item: Item) -> Accepted {
        if !self.is_foreign(&position.epoch) {
            let mut passed = self.reset(&position.epoch, position.offset.0);
            passed.extend(self.pass_from(position.offset.0, item));
            return Accepted::Pass(passed);
        }
        self.note_foreign(position);
        Accepted::Foreign { missing: self.next.unwrap_or_default() }
    }

    fn note_foreign(&mut self, position: &Position) {
        let further = |foreign: &Position| foreign.epoch != position.epoch || foreign.offset < position.offset;
        if self.foreign.as_ref().is_none_or(further) {
            self.foreign = Some(position.clone());
        }
    }

    fn wait(&mut self, offset: u64, next: u64, item: Item) -> Accepted {
        if self.waiting.len() < MOST_WAITING {
            self.waiting.entry(offset).or_insert(item);
        } else {
            self.known = self.known.max(offset);
        }
        Accepted::Waits { missing: next }
    }

    fn pass_from(&mut self, offset: u64, item: Item) -> Vec<(u64, Item)> {
        let mut passed = vec![(offset, item)];
        self.next = Some(offset + 1);
        passed.extend(self.take_ready());
        if offset.is_multiple_of(MARK_WINDOW) {
            self.marks.retain(|_, mark| !matches!(mark, Mark::Through(through) if *through + MARK_WINDOW < offset));
            self.late.retain(|late| *late + MARK_WINDOW >= offset);
        }
        passed
    }

    fn take_ready(&mut self) -> Vec<(u64, Item)> {
        let mut ready = Vec::new();
        while let Some(next) = self.next {
            let Some(item) = self.waiting.remove(&next) else { break };
            ready.push((next, item));
            self.next = Some(next + 1);
        }
        ready
    }
}

#[cfg(test)]
mod tests;
