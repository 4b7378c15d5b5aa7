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
mod database;
mod epochs;
mod error;
mod head_cache;
mod metrics;
mod open;
mod page;
mod reader_pool;
mod record;
mod retention;
mod tables;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use handlers::channel::{Channel, Position};
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, LogRange, LogSlice, MessageLog};

pub use self::archive::FileArchive;
use self::database::LogDatabase;
use self::epochs::ChannelEpochs;
use self::error::log_unavailable;
use self::head_cache::HeadCache;
pub use self::metrics::FileLogMetrics;
pub use self::open::LogOpenError;
use self::reader_pool::ReaderPool;
use self::writer::LogWriter;
use crate::config::StorageConfig;

/// How long an append may take, queueing included. A commit takes milliseconds; who waits longer had better be told.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a read may take, queueing included.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The message log of embedded mode: `messages.redb` in the data directory.
pub struct FileLog {
    epochs: ChannelEpochs,
    head_cache: Arc<HeadCache>,
    database: Arc<LogDatabase>,
    writer: LogWriter,
    readers: ReaderPool,
    metrics: FileLogMetrics,
}

impl FileLog {
    /// Opens the log, makes it at first start, and repairs it after an unclean stop. Blocks: a repair reads the whole
    /// file. The caller holds the data directory ([`DataDirLock`](super::data_dir::DataDirLock)) as long as the log lives.
    ///
    /// # Errors
    /// [`LogOpenError`], whose text says what to do.
    pub fn open(config: &StorageConfig, clock: Arc<dyn Clock>) -> Result<Self, LogOpenError> {
        let open::OpenedLog { database: store, epochs } = open::open_log(&config.data_dir, open::open_database)?;
        let parts = writer::WriterContext {
            database: Arc::new(store),
            head_cache: Arc::default(),
            metrics: FileLogMetrics::default(),
            limits: retention::RetentionLimits::from_config(config),
            clock,
            reject_duration_after: writer::reject_duration_after,
        };
        Self::start_threads(parts, epochs).map_err(LogOpenError::Thread)
    }

    fn start_threads(parts: writer::WriterContext, epochs: ChannelEpochs) -> std::io::Result<Self> {
        let (store, ends, metrics) = (parts.database.clone(), parts.head_cache.clone(), parts.metrics.clone());
        let writer = LogWriter::start(parts, epochs.clone())?;
        let readers = ReaderPool::start(&store)?;
        Ok(Self { epochs, head_cache: ends, database: store, writer, readers, metrics })
    }

    /// What the log counts; register it once.
    #[must_use]
    pub const fn metrics(&self) -> &FileLogMetrics {
        &self.metrics
    }

    /// Commits what has queued and closes the file cleanly, so that the next start needs no repair. Blocks for about one
    /// commit; dropping the log does the same. Later calls of the log answer that it is unavailable.
    pub fn close(&self) {
        self.writer.stop();
        self.readers.stop();
        self.database.close();
    }

    fn head_position(&self, channel: &Channel, end: tables::RetainedRange) -> Position {
        Position { epoch: self.epochs.epoch_of(channel), offset: end.head }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl MessageLog for FileLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        let late = |_| Err(log_unavailable("append timed out"));
        tokio::time::timeout(APPEND_TIMEOUT, self.writer.append(&append)).await.unwrap_or_else(late)
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        // Most resumes have missed nothing: that needs no disk.
        if let Some(span) = self.head_cache.find(channel)
            && matches!(range, LogRange::After(offset) if offset >= span.head)
        {
            return Ok(LogSlice { head: self.head_position(channel, span), first: span.first, entries: Vec::new() });
        }
        let page = page::PageRequest { channel: channel.clone(), range, limit: limit.max(1), max_bytes };
        let reading = self.readers.run_read(move |transaction| page.read_page(transaction));
        let late = |_| Err(log_unavailable("read timed out"));
        let found = tokio::time::timeout(READ_TIMEOUT, reading).await.unwrap_or_else(late)?;
        Ok(LogSlice {
            head: self.head_position(channel, found.retained),
            first: found.retained.first,
            entries: found.entries,
        })
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        let known: Vec<_> = channels.iter().map(|channel| self.head_cache.find(channel)).collect();
        let unknown: Vec<_> = channels
            .iter()
            .zip(&known)
            .filter(|(_, span)| span.is_none())
            .map(|(channel, _)| channel.clone())
            .collect();
        let mut found = if unknown.is_empty() {
            Vec::new()
        } else {
            let reading = self.readers.run_read(move |transaction| page::retained_ranges(transaction, &unknown));
            let late = |_| Err(log_unavailable("read timed out"));
            tokio::time::timeout(READ_TIMEOUT, reading).await.unwrap_or_else(late)?
        }
        .into_iter();
        let spans = known.into_iter().filter_map(|span| span.or_else(|| found.next()));
        Ok(channels.iter().zip(spans).map(|(channel, span)| self.head_position(channel, span)).collect())
    }
}

#[cfg(test)]
mod tests;
