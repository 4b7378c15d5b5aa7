//! Message log in one local redb file.
//!
//! Group commit: one writer thread commits all queued appends of all connections in one durable transaction and then
//! replies to them. An append returns after its `fsync`, and a read returns durable messages only. Reads run on two
//! dedicated threads, concurrently with the writer, so the disk never blocks a worker of the runtime. After a disk
//! failure appends fail and the writer reopens the file; the process continues.
//!
//! ```text
//! append ──▶ queue (bounded in bytes) ──▶ writer: batch ▸ commit ▸ head cache ▸ replies
//! read ────▶ head cache (no new messages) or readers: snapshot ▸ entries
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
use redb::ReadTransaction;

pub use self::archive::FileArchive;
use self::database::LogDatabase;
use self::epochs::ChannelEpochs;
use self::error::{FileLogError, log_unavailable};
use self::head_cache::HeadCache;
pub use self::metrics::FileLogMetrics;
pub use self::open::LogOpenError;
use self::reader_pool::ReaderPool;
use self::writer::LogWriter;
use crate::config::StorageConfig;

/// Timeout of an append, including its time in the queue. A commit takes milliseconds.
const APPEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a read, including its time in the queue.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Message log of embedded mode: `messages.redb` in the data directory.
pub struct FileLog {
    epochs: ChannelEpochs,
    head_cache: Arc<HeadCache>,
    database: Arc<LogDatabase>,
    writer: LogWriter,
    readers: ReaderPool,
    metrics: FileLogMetrics,
}

impl FileLog {
    /// Opens the log, creates it at the first start, and repairs it after an unclean shutdown. Blocks; a repair reads
    /// the whole file. The caller must hold the [`DataDirLock`](super::data_dir::DataDirLock) for the lifetime of the
    /// log.
    ///
    /// # Errors
    /// [`LogOpenError`], whose text contains the remedy.
    pub fn open(config: &StorageConfig, clock: Arc<dyn Clock>) -> Result<Self, LogOpenError> {
        let open::OpenedLog { database, epochs } = open::open_log(&config.data_dir, open::open_database)?;
        let context = writer::WriterContext {
            database: Arc::new(database),
            head_cache: Arc::default(),
            metrics: FileLogMetrics::default(),
            limits: retention::RetentionLimits::from_config(config),
            clock,
            reject_duration_after: writer::reject_duration_after,
        };
        Self::start_threads(context, epochs).map_err(LogOpenError::Thread)
    }

    fn start_threads(context: writer::WriterContext, epochs: ChannelEpochs) -> std::io::Result<Self> {
        let (database, head_cache) = (context.database.clone(), context.head_cache.clone());
        let metrics = context.metrics.clone();
        let writer = LogWriter::start(context, epochs.clone())?;
        let readers = ReaderPool::start(&database)?;
        Ok(Self { epochs, head_cache, database, writer, readers, metrics })
    }

    /// Returns the counters of the log, to be registered once.
    #[must_use]
    pub const fn metrics(&self) -> &FileLogMetrics {
        &self.metrics
    }

    /// Commits the queued appends and closes the file cleanly, so that the next start needs no repair. Blocks for about
    /// one commit; dropping the log does the same. Later calls fail with [`LogError::Unavailable`].
    pub fn close(&self) {
        self.writer.stop();
        self.readers.stop();
        self.database.close();
    }

    fn head_position(&self, channel: &Channel, retained: tables::RetainedRange) -> Position {
        Position { epoch: self.epochs.epoch_of(channel), offset: retained.head }
    }
}

impl FileLog {
    async fn read_with_timeout<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, FileLogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let timed_out = |_| Err(log_unavailable("read timed out"));
        tokio::time::timeout(READ_TIMEOUT, self.readers.run_read(read)).await.unwrap_or_else(timed_out)
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
        let timed_out = |_| Err(log_unavailable("append timed out"));
        tokio::time::timeout(APPEND_TIMEOUT, self.writer.append(&append)).await.unwrap_or_else(timed_out)
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        // Most resumes have missed no message, which the head cache answers without a disk access.
        if let Some(retained) = self.head_cache.find(channel)
            && matches!(range, LogRange::After(offset) if offset >= retained.head)
        {
            let head = self.head_position(channel, retained);
            return Ok(LogSlice { head, first: retained.first, entries: Vec::new() });
        }
        let page = page::PageRequest { channel: channel.clone(), range, limit: limit.max(1), max_bytes };
        let page = self.read_with_timeout(move |transaction| page.read_page(transaction)).await?;
        Ok(LogSlice {
            head: self.head_position(channel, page.retained),
            first: page.retained.first,
            entries: page.entries,
        })
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        let cached: Vec<_> = channels.iter().map(|channel| self.head_cache.find(channel)).collect();
        let uncached: Vec<_> = channels
            .iter()
            .zip(&cached)
            .filter(|(_, retained)| retained.is_none())
            .map(|(channel, _)| channel.clone())
            .collect();
        let mut stored = if uncached.is_empty() {
            Vec::new()
        } else {
            self.read_with_timeout(move |transaction| page::retained_ranges(transaction, &uncached)).await?
        }
        .into_iter();
        let ranges = cached.into_iter().filter_map(|retained| retained.or_else(|| stored.next()));
        Ok(channels.iter().zip(ranges).map(|(channel, retained)| self.head_position(channel, retained)).collect())
    }
}

#[cfg(test)]
mod tests;
