//! Errors of the log file, and their conversion into [`LogError`].

use std::io::ErrorKind;
use std::sync::Arc;

use handlers::ports::LogError;

/// Name of the adapter in errors.
const ADAPTER_NAME: &str = "file";

/// Failure of a transaction. Cheap to clone, because a failed commit is the reply to every append of its batch.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum FileLogError {
    /// An error of redb.
    #[error("the database failed")]
    Database(#[source] Arc<redb::Error>),
    /// The file has contents that this program does not write.
    #[error("the message log is corrupt: {0}")]
    Corrupt(&'static str),
    /// The device was full at an earlier attempt.
    #[error("no space left on device")]
    StorageFull,
    /// The file is closed, or could not be reopened after a failure.
    #[error("the message log is closed")]
    Closed,
}

impl FileLogError {
    pub(super) const fn corrupt(what: &'static str) -> Self {
        Self::Corrupt(what)
    }

    /// Returns whether the device or the disk quota is full.
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

    pub(super) fn into_log_error(self) -> LogError {
        let transient = match &self {
            Self::Closed => true,
            // After a failed write redb rejects every operation until the writer has reopened the file.
            Self::Database(error) => {
                matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed)
            }
            Self::Corrupt(_) | Self::StorageFull => false,
        };
        match self {
            error if error.is_full() => LogError::Full(Box::new(error)),
            error if transient => LogError::Unavailable(Box::new(error)),
            error => LogError::Backend { adapter: ADAPTER_NAME, source: Box::new(error) },
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

/// Returns an error for a failure that a retry may resolve.
pub(super) fn log_unavailable(reason: &'static str) -> LogError {
    LogError::Unavailable(reason.into())
}
