//! Threads that run reads, so that a slow disk never blocks a worker of the runtime.
//!
//! At most [`READ_QUEUE_CAPACITY`] reads are queued; further reads wait for capacity until their caller's deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use handlers::ports::LogError;
use parking_lot::Mutex;
use redb::ReadTransaction;
use tokio::sync::{Semaphore, oneshot};

use super::database::LogDatabase;
use super::error::{FileLogError, log_unavailable};

/// Maximum number of queued reads.
const READ_QUEUE_CAPACITY: usize = 1_024;
/// Number of concurrent reads. Reads are short, and the page cache serves most of them.
const READER_THREADS: usize = 2;

type ReadJob = Box<dyn FnOnce(&LogDatabase) + Send>;

pub(super) struct ReaderPool {
    permits: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<ReadJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ReaderPool {
    pub(super) fn start(database: &Arc<LogDatabase>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(READ_QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let (database, queue) = (database.clone(), queue.clone());
            thread::Builder::new().name(format!("log-reader-{number}")).spawn(move || run_reader(&database, &queue))
        };
        let threads = (0..READER_THREADS).map(start).collect::<Result<Vec<_>, _>>()?;
        let permits = Arc::new(Semaphore::new(READ_QUEUE_CAPACITY));
        Ok(Self { permits, jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }

    /// Runs `work` on a snapshot that is taken after this call.
    pub(super) async fn run_read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, FileLogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| log_closed())?;
        let (reply, result) = oneshot::channel();
        self.enqueue_job(Box::new(move |database| {
            // Skips the read if its caller has timed out.
            if !reply.is_closed() {
                let _ = reply.send(database.with_snapshot(work));
            }
            drop(permit);
        }))?;
        result
            .await
            .unwrap_or(Err(FileLogError::corrupt("the database panicked")))
            .map_err(FileLogError::into_log_error)
    }

    fn enqueue_job(&self, job: ReadJob) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        // Each job holds a permit, and there are as many permits as channel slots, so the channel is never full.
        jobs.as_ref().ok_or_else(log_closed)?.try_send(job).map_err(|_| log_closed())
    }

    /// Rejects further reads and returns when the queued ones have run.
    pub(super) fn stop(&self) {
        *self.jobs.lock() = None;
        for thread in self.threads.lock().drain(..) {
            // The threads catch panics, so the result contains no information.
            let _ = thread.join();
        }
    }
}

fn log_closed() -> LogError {
    log_unavailable("the message log is closed")
}

fn run_reader(database: &LogDatabase, queue: &Mutex<Receiver<ReadJob>>) {
    loop {
        let job = queue.lock().recv();
        let Ok(job) = job else { return };
        // A panic drops the job's reply channel, which its caller reports as an error of the log.
        let _ = catch_unwind(AssertUnwindSafe(|| job(database)));
    }
}
