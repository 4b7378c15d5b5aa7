//! The open database, and how it is opened anew.
//!
//! redb refuses everything after one failed write until its file is closed and opened again. So the database sits behind
//! a lock that transactions hold shared and a reopening holds alone; all of that happens on the log's own threads.

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::error::FileLogError;

/// Opens the file that was open before; it must exist.
pub(super) type ReopenDatabase = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

pub(super) struct LogDatabase {
    database: RwLock<Option<Database>>,
    reopen: ReopenDatabase,
}

impl LogDatabase {
    pub(super) fn new(database: Database, reopen: ReopenDatabase) -> Self {
        Self { database: RwLock::new(Some(database)), reopen }
    }

    /// Whether there is a database; there is none when it could not be opened again.
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

    /// Runs `work` in one transaction and makes it durable, unless `work` answers `None`: then nothing is written.
    pub(super) fn with_transaction<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<Option<T>, FileLogError>,
    ) -> Result<Option<T>, FileLogError> {
        let database = self.database.read();
        // Durable is redb's default: the transaction is on disk when `commit` returns.
        let transaction = database.as_ref().ok_or(FileLogError::Closed)?.begin_write()?;
        let done = work(&transaction)?;
        match done {
            Some(_) => transaction.commit()?,
            None => transaction.abort()?,
        }
        Ok(done)
    }

    /// Closes the database and opens it again, with the repair that this takes. Answers how long it took.
    pub(super) fn reopen(&self) -> Result<Duration, FileLogError> {
        let begin = Instant::now();
        let mut database = self.database.write();
        // The old one must be gone first: its locks would refuse the new one.
        *database = None;
        *database = Some((self.reopen)()?);
        Ok(begin.elapsed())
    }

    /// Closes the file cleanly.
    pub(super) fn close(&self) {
        *self.database.write() = None;
    }
}
