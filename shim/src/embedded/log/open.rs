//! Opening and creation of the log file, with an error for every other kind of file at its path.
//!
//! The caller holds the lock of the data directory, so no other process creates or changes the file at the same time.
//! redb additionally locks the file itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handlers::channel::Epoch;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, TableError};

use super::database::LogDatabase;
use super::epochs::ChannelEpochs;
use super::error::FileLogError;
use super::tables::{
    CHANNELS_TABLE, DEDUPLICATION_TABLE, ENTRIES_TABLE, EPOCH_KEY, FORMAT_KEY, FORMAT_NAME, META_TABLE,
};
use crate::embedded::data_dir::{DataDirError, create_data_dir};

/// Name of the file in the data directory.
const LOG_FILE_NAME: &str = "messages.redb";
/// First bytes of a redb file ("File format", redb's design document).
const REDB_MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// Size of redb's page cache. The kernel caches the file as well, so it is far below redb's default of 1 GiB.
const DATABASE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Failure to open the message log. The text contains the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Another process has locked the file.
    #[error(
        "{path} is locked by another process: probably another twinway uses it; stop it, or set another data directory"
    )]
    Locked { path: PathBuf },
    /// The operating system returned an error.
    #[error("the message log {path} cannot be opened: {source}; check the file's permissions and the free disk space")]
    Io { path: PathBuf, source: io::Error },
    /// The file belongs to another program or to another version of twinway.
    #[error(
        "{path} is not a message log of this version of twinway ({found}); move the file, or set another data directory"
    )]
    UnsupportedFormat {
        path: PathBuf,
        /// Description of the file.
        found: String,
    },
    /// The structure of the file is damaged.
    #[error(
        "the message log {path} is corrupt: {what}; restore it from a backup, or move it to start with an empty log \
         (clients then receive a gap)"
    )]
    Corrupt {
        path: PathBuf,
        /// Message of redb.
        what: String,
    },
    /// The operating system returned no random bytes for the epoch.
    #[error("the operating system returned no random bytes: {0}")]
    Random(getrandom::Error),
    /// A thread could not be started.
    #[error("a thread of the message log could not be started: {0}; raise this user's process limit")]
    Thread(io::Error),
}

/// Database and epochs of an open log.
pub(super) struct OpenedLog {
    pub database: LogDatabase,
    pub epochs: ChannelEpochs,
}

/// Opens the file with redb; with `create`, initializes an empty file.
pub(super) fn open_database(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(DATABASE_CACHE_BYTES).set_repair_callback(|session| {
        tracing::info!(progress = session.progress(), "repairing the message log after an unclean shutdown");
    });
    if create { builder.create(path) } else { builder.open(path) }
}

/// Opens or creates the log in `directory`.
pub(super) fn open_log(
    directory: &Path,
    database: impl Fn(&Path, bool) -> Result<Database, DatabaseError> + Send + Sync + 'static,
) -> Result<OpenedLog, LogOpenError> {
    create_data_dir(directory)?;
    let path = directory.join(LOG_FILE_NAME);
    check_file(&path)?;
    let open = database(&path, true).map_err(|error| log_open_error(&path, FileLogError::from(error)))?;
    let file_epoch = identify_file(&path, &open)?;
    let snapshot = open.begin_read().map_err(|error| log_open_error(&path, error.into()))?;
    let epochs = ChannelEpochs::load_epochs(file_epoch, &snapshot).map_err(|error| log_open_error(&path, error))?;
    drop(snapshot);
    let reopen = Box::new(move || database(&path, false));
    Ok(OpenedLog { database: LogDatabase::new(open, reopen), epochs })
}

/// Creates a private file if none exists, truncates one whose creation was interrupted, and rejects a file that is not
/// a redb file.
fn check_file(path: &Path) -> Result<(), LogOpenError> {
    let io = |source| LogOpenError::Io { path: path.to_owned(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(io)?;
    let mut head = Vec::with_capacity(REDB_MAGIC.len());
    Read::by_ref(&mut &file).take(REDB_MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
    // redb writes its magic bytes last, so a file of zeros is one whose creation was interrupted. It contains no
    // messages.
    if head.iter().all(|byte| *byte == 0) {
        return truncate_file(&file).map_err(io);
    }
    if head == REDB_MAGIC {
        return Ok(());
    }
    Err(LogOpenError::UnsupportedFormat { path: path.to_owned(), found: "not a redb file".to_owned() })
}

fn truncate_file(file: &File) -> io::Result<()> {
    if file.metadata()?.len() > 0 { file.set_len(0) } else { Ok(()) }
}

/// Checks the format of the file and returns its epoch. A file without tables is new and is initialized.
fn identify_file(path: &Path, database: &Database) -> Result<Epoch, LogOpenError> {
    let failed = |error| log_open_error(path, error);
    let foreign = |found: String| LogOpenError::UnsupportedFormat { path: path.to_owned(), found };
    match read_meta(database).map_err(failed)? {
        Some((format, epoch)) if format == FORMAT_NAME => Ok(Epoch(epoch.into())),
        Some((format, _)) => Err(foreign(format!("its format is {format:?}, this version requires {FORMAT_NAME:?}"))),
        None if has_tables(database).map_err(failed)? => Err(foreign("a redb file of another program".to_owned())),
        None => initialize_file(path, database),
    }
}

fn read_meta(database: &Database) -> Result<Option<(String, String)>, FileLogError> {
    let meta = match database.begin_read()?.open_table(META_TABLE) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = |key| Ok::<_, FileLogError>(meta.get(key)?.map(|value| value.value().to_owned()).unwrap_or_default());
    Ok(Some((text(FORMAT_KEY)?, text(EPOCH_KEY)?)))
}

fn has_tables(database: &Database) -> Result<bool, FileLogError> {
    Ok(database.begin_read()?.list_tables()?.next().is_some())
}

fn initialize_file(path: &Path, database: &Database) -> Result<Epoch, LogOpenError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(LogOpenError::Random)?;
    let epoch = URL_SAFE_NO_PAD.encode(bytes);
    write_meta(database, &epoch).map_err(|error| log_open_error(path, error))?;
    Ok(Epoch(epoch.into()))
}

fn write_meta(database: &Database, epoch: &str) -> Result<(), FileLogError> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META_TABLE)?;
        meta.insert(FORMAT_KEY, FORMAT_NAME)?;
        meta.insert(EPOCH_KEY, epoch)?;
        transaction.open_table(CHANNELS_TABLE)?;
        transaction.open_table(ENTRIES_TABLE)?;
        transaction.open_table(DEDUPLICATION_TABLE)?;
    }
    Ok(transaction.commit()?)
}

fn log_open_error(path: &Path, error: FileLogError) -> LogOpenError {
    let path = path.to_owned();
    let FileLogError::Database(database_error) = &error else {
        return LogOpenError::Corrupt { path, what: error.to_string() };
    };
    match &**database_error {
        redb::Error::DatabaseAlreadyOpen => LogOpenError::Locked { path },
        redb::Error::UpgradeRequired(version) => {
            LogOpenError::UnsupportedFormat { path, found: format!("a redb file of format {version}") }
        }
        // redb reports a corrupt header as `InvalidData`; every other kind comes from the operating system.
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            LogOpenError::Io { path, source }
        }
        other => LogOpenError::Corrupt { path, what: other.to_string() },
    }
}
