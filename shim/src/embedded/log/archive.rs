//! The file as whoever moves logs sees it: opened alone, without the writer, the readers and retention of a log that serves.
//!
//! Every import is one durable transaction. Calls run on the runtime's threads for blocking work.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use handlers::archive::{ImportError, LogArchive, Most, Stretch};
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::ports::{Entry, LogError, Range, Slice};
use parking_lot::Mutex;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::batch::Tables;
use super::epochs::Epochs;
use super::fault::Fault;
use super::open;
use super::read::{self, Page};
use super::record;
use super::store::Store;
use super::tables::{CHANNELS, ChannelRow, EPOCHS, Row, Span};
use crate::embedded::data_dir::DataDirLock;
use crate::embedded::{DataDirError, OpenError};

/// The message log of a data directory that no server uses.
pub struct FileArchive {
    core: Arc<Core>,
    _lock: DataDirLock,
}

struct Core {
    store: Store,
    epochs: Epochs,
    /// What was imported since the file was opened.
    fresh: Mutex<BTreeMap<Channel, Epoch>>,
}

impl FileArchive {
    /// Takes the data directory and opens its log, or makes an empty one. Blocks as [`FileLog::open`](super::FileLog::open).
    ///
    /// # Errors
    /// [`OpenError`], whose text says what to do; also while a server uses the directory.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let lock = DataDirLock::take(data_dir).map_err(|error: DataDirError| OpenError::DataDir(error))?;
        let open::Opened { store, epochs } = open::open(data_dir, open::database)?;
        Ok(Self { core: Arc::new(Core { store, epochs, fresh: Mutex::default() }), _lock: lock })
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Core) -> T + Send + 'static) -> Result<T, LogError> {
        let core = self.core.clone();
        let done = tokio::task::spawn_blocking(move || work(&core)).await;
        done.map_err(|_| Fault::corrupt("the database panicked").report())
    }
}

impl Core {
    fn epoch(&self, channel: &Channel) -> Epoch {
        self.fresh.lock().get(channel).cloned().unwrap_or_else(|| self.epochs.of(channel))
    }

    fn export(&self, page: &Page) -> Result<Slice, Fault> {
        let found = self.store.read(|transaction| page.read(transaction))?;
        let head = Position { epoch: self.epoch(&page.channel), offset: found.span.head };
        Ok(Slice { head, first: found.span.first, entries: found.entries })
    }

    fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        let channels = [stretch.channel.clone()];
        let spans = self.store.read(|transaction| read::spans(transaction, &channels)).map_err(Fault::report)?;
        let head = spans.first().map_or(Offset::START, |span| span.head);
        let rest = stretch.rest(&self.epoch(&stretch.channel), head)?;
        self.store.write(|transaction| write(transaction, stretch, rest).map(Some)).map_err(Fault::report)?;
        self.fresh.lock().insert(stretch.channel.clone(), stretch.epoch.clone());
        Ok(())
    }
}

fn list(transaction: &ReadTransaction) -> Result<Vec<Channel>, Fault> {
    let mut found = Vec::new();
    for row in transaction.open_table(CHANNELS)?.iter()? {
        let (key, row) = row?;
        if Row::from(row.value()).span.head > Offset::START {
            found.push(Channel::from_key(key.value()).map_err(|_| Fault::corrupt("a channel has no name"))?);
        }
    }
    found.sort_by_key(ToString::to_string);
    Ok(found)
}

/// Writes the entries behind the channel's end; begins the channel when it has none.
fn write(transaction: &WriteTransaction, stretch: &Stretch, rest: &[Entry]) -> Result<(), Fault> {
    let mut tables = Tables::open(transaction)?;
    let key = stretch.channel.to_string();
    let known: Option<Row> = tables.channels.get(key.as_str())?.map(|row| row.value().into());
    let mut row = known.unwrap_or(Row { number: tables.channels.len()?, span: Span::EMPTY });
    if row.span.head == Offset::START {
        row.span = Span { head: stretch.from, first: stretch.from.next() };
        transaction.open_table(EPOCHS)?.insert(key.as_str(), &*stretch.epoch.0)?;
    }
    for entry in rest {
        let append = entry.clone().into_append(stretch.channel.clone());
        let seen =
            (row.number, record::role_number(append.sender.role), append.sender.user.as_str(), append.id.as_str());
        tables.entries.insert((row.number, entry.offset.0), record::encode(&append)?.as_slice())?;
        tables.seen.insert(seen, (entry.offset.0, entry.sent_at.0))?;
        row.span.head = entry.offset;
    }
    tables.channels.insert(key.as_str(), ChannelRow::from(row))?;
    Ok(())
}

#[async_trait]
impl LogArchive for FileArchive {
    async fn channels(&self) -> Result<Vec<Channel>, LogError> {
        self.run(|core| core.store.read(list)).await?.map_err(Fault::report)
    }

    async fn export(&self, channel: &Channel, after: Offset, most: Most) -> Result<Slice, LogError> {
        let (limit, max_bytes) = (most.entries.max(1), most.bytes);
        let page = Page { channel: channel.clone(), range: Range::After(after), limit, max_bytes };
        self.run(move |core| core.export(&page)).await?.map_err(Fault::report)
    }

    async fn import(&self, stretch: &Stretch) -> Result<(), ImportError> {
        let stretch = stretch.clone();
        self.run(move |core| core.import(&stretch)).await?
    }
}
