//! The message log in one local file, on redb.
//!
//! Appends of many connections are committed together: one writer thread takes what has queued, makes one durable
//! transaction of it, and answers all. Invariant: an append is answered after its `fsync`, and what a read shows is
//! durable. Reads run beside the writer on two threads of their own, so no worker of the runtime ever waits for the disk.
//! A failed disk makes appends fail, never the process: the file is opened anew and tried again.
//!
//! ```text
//! append ──▶ queue (bytes bounded) ──▶ writer: batch ▸ commit ▸ ends in memory ▸ answers
//! read ────▶ ends in memory (nothing new) or readers: snapshot ▸ entries
//! ```

mod archive;
mod batch;
mod ends;
mod epochs;
mod fault;
mod metrics;
mod open;
mod read;
mod readers;
mod record;
mod retention;
mod store;
mod tables;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handlers::channel::{Channel, Position};
use handlers::ports::{Append, Appended, Clock, LogError, MessageLog, Range, Slice};

pub use self::archive::FileArchive;
use self::ends::Ends;
use self::epochs::Epochs;
use self::fault::unavailable;
pub use self::metrics::LogMetrics;
pub use self::open::OpenError;
use self::readers::Readers;
use self::store::Store;
use self::writer::Writer;
use crate::config::StorageConfig;

/// How long an append may take, queueing included. A commit takes milliseconds; who waits longer had better be told.
const APPEND_DEADLINE: Duration = Duration::from_secs(10);
/// How long a read may take, queueing included.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// The message log of embedded mode: `messages.redb` in the data directory.
pub struct FileLog {
    epochs: Epochs,
    ends: Arc<Ends>,
    store: Arc<Store>,
    writer: Writer,
    readers: Readers,
    metrics: LogMetrics,
}

impl FileLog {
    /// Opens the log, makes it at first start, and repairs it after an unclean stop. Blocks: a repair reads the whole
    /// file. The caller holds the data directory ([`DataDirLock`](super::data_dir::DataDirLock)) as long as the log lives.
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do.
    pub fn open(config: &StorageConfig, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let open::Opened { store, epochs } = open::open(&config.data_dir, open::database)?;
        let parts = writer::Parts {
            store: Arc::new(store),
            ends: Arc::default(),
            metrics: LogMetrics::default(),
            limits: retention::Limits::of(config),
            clock,
            pause_after: writer::pause_after,
        };
        Self::start(parts, epochs).map_err(OpenError::Thread)
    }

    fn start(parts: writer::Parts, epochs: Epochs) -> std::io::Result<Self> {
        let (store, ends, metrics) = (parts.store.clone(), parts.ends.clone(), parts.metrics.clone());
        let writer = Writer::start(parts, epochs.clone())?;
        let readers = Readers::start(&store)?;
        Ok(Self { epochs, ends, store, writer, readers, metrics })
    }

    /// What the log counts; register it once.
    #[must_use]
    pub const fn metrics(&self) -> &LogMetrics {
        &self.metrics
    }

    /// Commits what has queued and closes the file cleanly, so that the next start needs no repair. Blocks for about one
    /// commit; dropping the log does the same. Later calls of the log answer that it is unavailable.
    pub fn close(&self) {
        self.writer.stop();
        self.readers.stop();
        self.store.close();
    }

    fn position(&self, channel: &Channel, end: tables::Span) -> Position {
        Position { epoch: self.epochs.of(channel), offset: end.head }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl MessageLog for FileLog {
    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        let late = |_| Err(unavailable("the append was not committed in time"));
        tokio::time::timeout(APPEND_DEADLINE, self.writer.append(&append)).await.unwrap_or_else(late)
    }

    async fn read(&self, channel: &Channel, range: Range, limit: usize, max_bytes: usize) -> Result<Slice, LogError> {
        // Most resumes have missed nothing: that needs no disk.
        if let Some(span) = self.ends.find(channel)
            && matches!(range, Range::After(offset) if offset >= span.head)
        {
            return Ok(Slice { head: self.position(channel, span), first: span.first, entries: Vec::new() });
        }
        let page = read::Page { channel: channel.clone(), range, limit: limit.max(1), max_bytes };
        let reading = self.readers.run(move |transaction| page.read(transaction));
        let late = |_| Err(unavailable("the read was not answered in time"));
        let found = tokio::time::timeout(READ_DEADLINE, reading).await.unwrap_or_else(late)?;
        Ok(Slice { head: self.position(channel, found.span), first: found.span.first, entries: found.entries })
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        let known: Vec<_> = channels.iter().map(|channel| self.ends.find(channel)).collect();
        let unknown: Vec<_> = channels
            .iter()
            .zip(&known)
            .filter(|(_, span)| span.is_none())
            .map(|(channel, _)| channel.clone())
            .collect();
        let mut found = if unknown.is_empty() {
            Vec::new()
        } else {
            let reading = self.readers.run(move |transaction| read::spans(transaction, &unknown));
            let late = |_| Err(unavailable("the read was not answered in time"));
            tokio::time::timeout(READ_DEADLINE, reading).await.unwrap_or_else(late)?
        }
        .into_iter();
        let spans = known.into_iter().filter_map(|span| span.or_else(|| found.next()));
        Ok(channels.iter().zip(spans).map(|(channel, span)| self.position(channel, span)).collect())
    }
}

#[cfg(test)]
mod tests;
