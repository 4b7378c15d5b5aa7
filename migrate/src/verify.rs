//! Comparing one channel in two stores: ends, counts, every message, and a checksum over all of them.
//!
//! Messages are read in both and compared one by one, so that the first difference is named; what is kept of them is a
//! SHA-256 of each side.

use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, SHA256};
use handlers::archive::LogArchive;
use handlers::channel::{Channel, Epoch, Offset};
use handlers::ports::{Entry, LogError};

use crate::copy::PAGE;
use crate::keeping::Keeping;
use crate::progress::Progress;

/// What is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equal {
    /// How many messages.
    pub messages: u64,
    /// SHA-256 over all of them, hexadecimal.
    pub checksum: String,
}

/// What is not.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// The ends.
    #[error("the source ends at offset {origin}, the target at {target}")]
    Ends {
        /// The source's last offset.
        origin: Offset,
        /// The target's.
        target: Offset,
    },
    /// The epochs: clients would be told a gap.
    #[error("the epochs are different: clients would be told that there is a gap")]
    Epoch,
    /// The target lacks messages at the beginning.
    #[error("the target lacks the messages before offset {first}")]
    Beginning {
        /// The oldest offset that the target has.
        first: Offset,
    },
    /// Messages.
    #[error(
        "{what} at offset {at}; the source has {origin_count} messages with the checksum {origin_sum}, the target \
         {target_count} with {target_sum}"
    )]
    Messages {
        /// What is different.
        what: &'static str,
        /// The first offset where it is.
        at: Offset,
        /// How many the source has.
        origin_count: u64,
        /// Their checksum.
        origin_sum: String,
        /// How many the target has.
        target_count: u64,
        /// Their checksum.
        target_sum: String,
    },
    /// One of them could not be read.
    #[error("reading the {side} failed")]
    Unreadable {
        /// Which.
        side: &'static str,
        /// Why.
        #[source]
        source: LogError,
    },
}

/// Compares a channel.
///
/// # Errors
/// The first [`Difference`].
pub async fn verify(
    source: &dyn LogArchive,
    target: &dyn LogArchive,
    channel: &Channel,
    keeping: Keeping,
    progress: &Progress,
) -> Result<Equal, Difference> {
    let (mut origin, mut copy) = (Side::of(source, channel, "source"), Side::of(target, channel, "target"));
    let (from, to) = (origin.look().await?, copy.look().await?);
    if from.epoch != to.epoch {
        return Err(Difference::Epoch);
    }
    if from.head != to.head {
        return Err(Difference::Ends { origin: from.head, target: to.head });
    }
    // What the target does not keep, it need not have. What the source dropped meanwhile, the target may still have.
    while origin.after.next() < to.first {
        let Some(entry) = origin.next().await? else { break };
        if keeping.keeps(entry.sent_at) {
            return Err(Difference::Beginning { first: to.first });
        }
        progress.messages(1);
    }
    copy.after = origin.after.max(Offset(from.first.0.saturating_sub(1)));
    compare(&mut origin, &mut copy, progress).await
}

async fn compare(origin: &mut Side<'_>, copy: &mut Side<'_>, progress: &Progress) -> Result<Equal, Difference> {
    (origin.sum, copy.sum) = (Sum::new(), Sum::new());
    let mut first = None;
    loop {
        let (left, right) = (origin.next().await?, copy.next().await?);
        let what = match (&left, &right) {
            (None, None) => break,
            (Some(left), Some(right)) => difference(left, right),
            (Some(_), None) => Some("the target lacks the message"),
            (None, Some(_)) => Some("the target has a message that the source has not"),
        };
        let at = left.as_ref().or(right.as_ref()).map_or(Offset::START, |entry| entry.offset);
        first = first.or(what.map(|what| (what, at)));
        left.iter().for_each(|entry| origin.sum.add(entry));
        right.iter().for_each(|entry| copy.sum.add(entry));
        progress.messages(u64::from(left.is_some()));
    }
    let (origin_count, origin_sum) = std::mem::replace(&mut origin.sum, Sum::new()).finish();
    let (target_count, target_sum) = std::mem::replace(&mut copy.sum, Sum::new()).finish();
    match first {
        Some((what, at)) => Err(Difference::Messages { what, at, origin_count, origin_sum, target_count, target_sum }),
        None => Ok(Equal { messages: origin_count, checksum: origin_sum }),
    }
}

fn difference(left: &Entry, right: &Entry) -> Option<&'static str> {
    match () {
        () if left.offset != right.offset => Some("the offsets differ"),
        () if left.sent_at != right.sent_at => Some("the times differ"),
        () if left.sender != right.sender => Some("the authors differ"),
        () if left.id != right.id => Some("the ids differ"),
        () if left.body.get() != right.body.get() => Some("the bodies differ"),
        () => None,
    }
}

/// One store's messages, one after the other.
struct Side<'a> {
    archive: &'a dyn LogArchive,
    channel: &'a Channel,
    name: &'static str,
    after: Offset,
    page: VecDeque<Entry>,
    sum: Sum,
}

struct Ends {
    epoch: Epoch,
    head: Offset,
    first: Offset,
}

impl<'a> Side<'a> {
    fn of(archive: &'a dyn LogArchive, channel: &'a Channel, name: &'static str) -> Self {
        Self { archive, channel, name, after: Offset::START, page: VecDeque::new(), sum: Sum::new() }
    }

    async fn look(&mut self) -> Result<Ends, Difference> {
        let unreadable = |source| Difference::Unreadable { side: self.name, source };
        let slice = self.archive.ends(self.channel).await.map_err(unreadable)?;
        self.after = Offset(slice.first.0.saturating_sub(1));
        Ok(Ends { epoch: slice.head.epoch, head: slice.head.offset, first: slice.first })
    }

    async fn next(&mut self) -> Result<Option<Entry>, Difference> {
        if self.page.is_empty() {
            let unreadable = |source| Difference::Unreadable { side: self.name, source };
            let page = self.archive.export(self.channel, self.after, PAGE).await.map_err(unreadable)?;
            self.page = page.entries.into();
        }
        let entry = self.page.pop_front();
        self.after = entry.as_ref().map_or(self.after, |entry| entry.offset);
        Ok(entry)
    }
}

/// A running checksum.
struct Sum {
    count: u64,
    digest: Context,
}

impl Sum {
    fn new() -> Self {
        Self { count: 0, digest: Context::new(&SHA256) }
    }

    /// Numbers at full width and texts behind their lengths, so that no two lists of messages look alike.
    fn add(&mut self, entry: &Entry) {
        self.count += 1;
        self.digest.update(&entry.offset.0.to_le_bytes());
        self.digest.update(&entry.sent_at.0.to_le_bytes());
        let texts = [entry.sender.user.as_str(), entry.sender.role.as_str(), entry.id.as_str(), entry.body.get()];
        for text in texts {
            self.digest.update(&(text.len() as u64).to_le_bytes());
            self.digest.update(text.as_bytes());
        }
    }

    fn finish(self) -> (u64, String) {
        let digest = self.digest.finish();
        (self.count, digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
