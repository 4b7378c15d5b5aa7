//! Export and import of the message log of a stopped server: the file without writer, readers and retention.
//!
//! Every import is one durable transaction. Calls run on tokio's threads for blocking work.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use handlers::archive::{ExportLimits, ImportError, LogArchive, LogSegment};
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::ports::{LogEntry, LogError, LogRange, LogSlice};
use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::batch::LogTables;
use super::database::LogDatabase;
use super::epochs::ChannelEpochs;
use super::error::FileLogError;
use super::open;
use super::page::{self, PageRequest};
use super::record;
use super::tables::{CHANNELS_TABLE, ChannelRow, EPOCHS_TABLE, RetainedRange, StoredChannel};
use crate::embedded::data_dir::DataDirLock;
use crate::embedded::{DataDirError, LogOpenError};

/// Message log of a data directory that no server uses.
pub struct FileArchive {
    archive: Arc<OpenArchive>,
    _lock: DataDirLock,
}

struct OpenArchive {
    database: LogDatabase,
    epochs: ChannelEpochs,
    /// Epochs imported since the file was opened.
    imported_epochs: Mutex<BTreeMap<Channel, Epoch>>,
}

impl FileArchive {
    /// Locks the data directory and opens its log, or creates an empty one. Blocks like
    /// [`FileLog::open`](super::FileLog::open).
    ///
    /// # Errors
    /// [`LogOpenError`], whose text contains the remedy; in particular while a server uses the directory.
    pub fn open(data_dir: &Path) -> Result<Self, LogOpenError> {
        let lock = DataDirLock::acquire(data_dir).map_err(|error: DataDirError| LogOpenError::DataDir(error))?;
        let open::OpenedLog { database, epochs } = open::open_log(data_dir, open::open_database)?;
        Ok(Self { archive: Arc::new(OpenArchive { database, epochs, imported_epochs: Mutex::default() }), _lock: lock })
    }

    async fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&OpenArchive) -> T + Send + 'static,
    ) -> Result<T, LogError> {
        let archive = self.archive.clone();
        let result = tokio::task::spawn_blocking(move || work(&archive)).await;
        result.map_err(|_| FileLogError::corrupt("the database panicked").into_log_error())
    }
}

impl OpenArchive {
    fn epoch_of(&self, channel: &Channel) -> Epoch {
        self.imported_epochs.lock().get(channel).cloned().unwrap_or_else(|| self.epochs.epoch_of(channel))
    }

    fn export_page(&self, request: &PageRequest) -> Result<LogSlice, FileLogError> {
        let page = self.database.with_snapshot(|transaction| request.read_page(transaction))?;
        let head = Position { epoch: self.epoch_of(&request.channel), offset: page.retained.head };
        Ok(LogSlice { head, first: page.retained.first, entries: page.entries })
    }

    fn import_segment(&self, segment: &LogSegment) -> Result<(), ImportError> {
        let channels = [segment.channel.clone()];
        let ranges = self
            .database
            .with_snapshot(|transaction| page::retained_ranges(transaction, &channels))
            .map_err(FileLogError::into_log_error)?;
        let head = ranges.first().map_or(Offset::START, |retained| retained.head);
        let remaining = segment.remaining_entries(&self.epoch_of(&segment.channel), head)?;
        self.database
            .with_transaction(|transaction| write_entries(transaction, segment, remaining).map(Some))
            .map_err(FileLogError::into_log_error)?;
        self.imported_epochs.lock().insert(segment.channel.clone(), segment.epoch.clone());
        Ok(())
    }
}

fn list_channels(transaction: &ReadTransaction) -> Result<Vec<Channel>, FileLogError> {
    let mut found = Vec::new();
    for row in transaction.open_table(CHANNELS_TABLE)?.iter()? {
        let (key, row) = row?;
        if StoredChannel::from(row.value()).retained.head > Offset::START {
            found.push(Channel::from_key(key.value()).map_err(|_| FileLogError::corrupt("invalid channel key"))?);
        }
    }
    found.sort_by_key(ToString::to_string);
    Ok(found)
}

/// Appends the entries to the channel; a channel without entries starts at the segment's epoch and offset.
fn write_entries(
    transaction: &WriteTransaction,
    segment: &LogSegment,
    entries: &[LogEntry],
) -> Result<(), FileLogError> {
    let mut tables = LogTables::open_tables(transaction)?;
    let key = segment.channel.to_string();
    let stored: Option<StoredChannel> = tables.channels.get(key.as_str())?.map(|row| row.value().into());
    let mut row = stored.unwrap_or(StoredChannel { number: tables.channels.len()?, retained: RetainedRange::EMPTY });
    if row.retained.head == Offset::START {
        row.retained = RetainedRange { head: segment.after, first: segment.after.next() };
        transaction.open_table(EPOCHS_TABLE)?.insert(key.as_str(), &*segment.epoch.0)?;
    }
    for entry in entries {
        let append = entry.clone().into_append_request(segment.channel.clone());
        let deduplication_key =
            (row.number, record::role_number(append.sender.role), append.sender.user.as_str(), append.id.as_str());
        tables.entries.insert((row.number, entry.offset.0), record::encode_record(&append)?.as_slice())?;
        tables.deduplication.insert(deduplication_key, (entry.offset.0, entry.sent_at.0))?;
        row.retained.head = entry.offset;
    }
    tables.channels.insert(key.as_str(), ChannelRow::from(row))?;
    Ok(())
}

#[async_trait]
impl LogArchive for FileArchive {
    async fn logged_channels(&self) -> Result<Vec<Channel>, LogError> {
        self.run_blocking(|archive| archive.database.with_snapshot(list_channels))
            .await?
            .map_err(FileLogError::into_log_error)
    }

    async fn export(&self, channel: &Channel, after: Offset, limits: ExportLimits) -> Result<LogSlice, LogError> {
        let (limit, max_bytes) = (limits.max_entries.max(1), limits.max_bytes);
        let page = PageRequest { channel: channel.clone(), range: LogRange::After(after), limit, max_bytes };
        self.run_blocking(move |archive| archive.export_page(&page)).await?.map_err(FileLogError::into_log_error)
    }

    async fn import(&self, segment: &LogSegment) -> Result<(), ImportError> {
        let segment = segment.clone();
        self.run_blocking(move |archive| archive.import_segment(&segment)).await?
    }
}
