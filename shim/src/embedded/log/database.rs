//! Open redb database that can be reopened after a failure.
//!
//! After a failed write redb rejects every operation until the file is closed and opened again. Transactions therefore
//! hold a shared lock, and a reopen holds it exclusively. All of them run on the threads of the log.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::error::FileLogError;

/// Opens the existing file again.
pub(super) type ReopenDatabase = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct LogDatabase {
    database: RwLock<Option<Database>>,
    reopen: ReopenDatabase,
}

impl LogDatabase {
    pub(super) fn new(database: Database, reopen: ReopenDatabase) -> Self {
        Self { database: RwLock::new(Some(database)), reopen }
    }

    /// Returns `false` if the last reopen failed.
    pub(super) fn is_open(&self) -> bool {
        self.database.read().is_some()
    }

    /// Runs `work` on a snapshot.
    pub(super) fn with_snapshot<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, FileLogError>,
    ) -> Result<T, FileLogError> {
        let database = self.database.read();
        let transaction = database.as_ref().ok_or(FileLogError::Closed)?.begin_read()?;
        work(&transaction)
    }

    /// Runs `work` in one transaction and commits it durably. If `work` returns `None`, aborts it without writing.
    pub(super) fn with_transaction<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<Option<T>, FileLogError>,
    ) -> Result<Option<T>, FileLogError> {
        let database = self.database.read();
        // redb's default durability is `Immediate`: the transaction is on disk when `commit` returns.
        let transaction = database.as_ref().ok_or(FileLogError::Closed)?.begin_write()?;
        let result = work(&transaction)?;
        match result {
            Some(_) => transaction.commit()?,
            None => transaction.abort()?,
        }
        Ok(result)
    }

    /// Closes the database and opens it again, repairing it if necessary. Returns the time this took.
    pub(super) fn reopen(&self) -> Result<Duration, FileLogError> {
        let start = Instant::now();
        let mut database = self.database.write();
        // The old handle holds a file lock, so it must be dropped first.
        *database = None;
        *database = Some((self.reopen)()?);
        Ok(start.elapsed())
    }

    /// Closes the file cleanly.
    pub(super) fn close(&self) {
        *self.database.write() = None;
    }
}
