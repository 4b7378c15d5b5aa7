//! What can go wrong in the file, and the one place that turns it into the port's error.

use std::io::ErrorKind;
use std::sync::Arc;

use handlers::ports::LogError;

/// The adapter's name in errors.
const ADAPTER_NAME: &str = "file";

/// Why a transaction failed; cheap to clone, because one failed commit is the answer to a whole batch.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum FileLogError {
    /// The database's own error.
    #[error("the database failed")]
    Database(#[source] Arc<redb::Error>),
    /// What is in the file is not what this program writes.
    #[error("the message log is corrupt: {0}")]
    Corrupt(&'static str),
    /// There is no room, as an earlier attempt found out.
    #[error("no space left on device")]
    StorageFull,
    /// The file is closed, or could not be opened again after a failure.
    #[error("the message log is closed")]
    Closed,
}

impl FileLogError {
    pub(super) const fn corrupt(what: &'static str) -> Self {
        Self::Corrupt(what)
    }

    /// Whether the device, or the quota, is full.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::StorageFull => true,
            Self::Database(error) => match &**error {
                redb::Error::Io(error) => {
                    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
                }
                _ => false,
            },
            Self::Corrupt(_) | Self::Closed => false,
        }
    }

    /// The port's error.
    pub(super) fn into_log_error(self) -> LogError {
        let passing = match &self {
            Self::Closed => true,
            // After one failed write redb refuses everything until the file is opened anew, which the writer does.
            Self::Database(error) => {
                matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed)
            }
            Self::Corrupt(_) | Self::StorageFull => false,
        };
        match self {
            fault if fault.is_full() => LogError::Full(Box::new(fault)),
            fault if passing => LogError::Unavailable(Box::new(fault)),
            fault => LogError::Backend { adapter: ADAPTER_NAME, source: Box::new(fault) },
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),+) => {
        $(impl From<redb::$error> for FileLogError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Arc::new(error.into()))
            }
        })+
    };
}

from_redb!(StorageError, TableError, TransactionError, CommitError, DatabaseError, SetDurabilityError);

/// The same call may succeed later.
pub(super) fn log_unavailable(why: &'static str) -> LogError {
    LogError::Unavailable(why.into())
}
