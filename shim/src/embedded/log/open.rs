//! Opening the file, with an answer for everything that can stand in its place.
//!
//! Whoever opens holds the data directory's lock, so nobody else makes or changes the file meanwhile. redb locks the file
//! itself as well.

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

/// The file's name in the data directory.
const LOG_FILE_NAME: &str = "messages.redb";
/// What a redb file begins with ("File format", redb's design document).
const REDB_MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";
/// How much of the file redb keeps in memory. The kernel caches the file too; redb's own default is 1 GiB.
const DATABASE_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why the message log cannot be opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The directory is not usable.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Another process holds the file.
    #[error(
        "{path} is locked by another process: probably another twinway uses it; stop it, or set another data directory"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("the message log {path} cannot be opened: {source}; check the file's permissions and the free disk space")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Somebody else's file, or one of another version.
    #[error(
        "{path} is not a message log of this version of twinway ({found}); move the file, or set another data directory"
    )]
    UnsupportedFormat {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// The file's structure is broken.
    #[error(
        "the message log {path} is corrupt: {what}; restore it from a backup, or move it to start with an empty log \
         (clients then receive a gap)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What redb says.
        what: String,
    },
    /// The operating system gave no random bytes for the epoch.
    #[error("the operating system returned no random bytes: {0}")]
    Random(getrandom::Error),
    /// The operating system gave no thread.
    #[error("a thread of the message log could not be started: {0}; raise this user's process limit")]
    Thread(io::Error),
}

/// An open log.
pub(super) struct OpenedLog {
    pub database: LogDatabase,
    pub epochs: ChannelEpochs,
}

/// How redb opens the real file; with `create` it makes one in an empty one.
pub(super) fn open_database(path: &Path, create: bool) -> Result<Database, DatabaseError> {
    let mut builder = Builder::new();
    builder.set_cache_size(DATABASE_CACHE_BYTES).set_repair_callback(|session| {
        tracing::info!(progress = session.progress(), "repairing the message log after an unclean shutdown");
    });
    if create { builder.create(path) } else { builder.open(path) }
}

/// Opens or makes the log in `directory`.
pub(super) fn open_log(
    directory: &Path,
    database: impl Fn(&Path, bool) -> Result<Database, DatabaseError> + Send + Sync + 'static,
) -> Result<OpenedLog, LogOpenError> {
    create_data_dir(directory)?;
    let path = directory.join(LOG_FILE_NAME);
    check_file(&path)?;
    let open = database(&path, true).map_err(|error| log_open_error(&path, FileLogError::from(error)))?;
    let own = identify_file(&path, &open)?;
    let snapshot = open.begin_read().map_err(|error| log_open_error(&path, error.into()))?;
    let epochs = ChannelEpochs::load_epochs(own, &snapshot).map_err(|fault| log_open_error(&path, fault))?;
    drop(snapshot);
    let reopen = Box::new(move || database(&path, false));
    Ok(OpenedLog { database: LogDatabase::new(open, reopen), epochs })
}

/// Makes the file private, empties one whose making was cut short, and refuses one that is no redb file.
fn check_file(path: &Path) -> Result<(), LogOpenError> {
    let io = |source| LogOpenError::Io { path: path.to_owned(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = opened.map_err(io)?;
    let mut head = Vec::with_capacity(REDB_MAGIC.len());
    Read::by_ref(&mut &file).take(REDB_MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
    // redb writes its mark last, so a file of zeros was being made when the process was killed: nothing is lost.
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

/// The file's epoch, after a look at what it says that it is. A file without tables is new and becomes a log.
fn identify_file(path: &Path, database: &Database) -> Result<Epoch, LogOpenError> {
    let failed = |fault| log_open_error(path, fault);
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
    write_meta(database, &epoch).map_err(|fault| log_open_error(path, fault))?;
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

fn log_open_error(path: &Path, fault: FileLogError) -> LogOpenError {
    let path = path.to_owned();
    let FileLogError::Database(error) = &fault else { return LogOpenError::Corrupt { path, what: fault.to_string() } };
    match &**error {
        redb::Error::DatabaseAlreadyOpen => LogOpenError::Locked { path },
        redb::Error::UpgradeRequired(version) => {
            LogOpenError::UnsupportedFormat { path, found: format!("a redb file of format {version}") }
        }
        // Corruption in the header comes as "invalid data"; everything else is the operating system's word.
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            let source = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            LogOpenError::Io { path, source }
        }
        other => LogOpenError::Corrupt { path, what: other.to_string() },
    }
}
