//! The threads that read: a disk that is slow to answer holds up these two and never a worker of the runtime.
//!
//! Bound: [`READ_QUEUE_CAPACITY`] reads may wait; one that finds no room waits for it until its caller's deadline.

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

/// How many reads may wait.
const READ_QUEUE_CAPACITY: usize = 1_024;
/// How many run at a time. Reads are short and mostly come from memory.
const READER_THREADS: usize = 2;

type ReadJob = Box<dyn FnOnce(&LogDatabase) + Send>;

pub(super) struct ReaderPool {
    permits: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<ReadJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ReaderPool {
    pub(super) fn start(store: &Arc<LogDatabase>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(READ_QUEUE_CAPACITY);
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let (store, queue) = (store.clone(), queue.clone());
            thread::Builder::new().name(format!("log-reader-{number}")).spawn(move || run_reader(&store, &queue))
        };
        let threads = (0..READER_THREADS).map(start).collect::<Result<Vec<_>, _>>()?;
        let room = Arc::new(Semaphore::new(READ_QUEUE_CAPACITY));
        Ok(Self { permits: room, jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }

    /// Runs `work` on a snapshot that is taken after this call.
    pub(super) async fn run_read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, FileLogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let room = self.permits.clone().acquire_owned().await.map_err(|_| log_closed())?;
        let (answer, answered) = oneshot::channel();
        self.enqueue_job(Box::new(move |store| {
            // Whoever has stopped waiting needs no answer, and the disk has enough to do.
            if !answer.is_closed() {
                let _ = answer.send(store.with_snapshot(work));
            }
            drop(room);
        }))?;
        answered
            .await
            .unwrap_or(Err(FileLogError::corrupt("the database panicked")))
            .map_err(FileLogError::into_log_error)
    }

    fn enqueue_job(&self, job: ReadJob) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        // A job holds a permit, and there are as many permits as places: the channel is never full.
        jobs.as_ref().ok_or_else(log_closed)?.try_send(job).map_err(|_| log_closed())
    }

    /// Takes no more reads, and returns when those that queued are answered.
    pub(super) fn stop(&self) {
        *self.jobs.lock() = None;
        for thread in self.threads.lock().drain(..) {
            // They catch their own panics; there is nothing left to report.
            let _ = thread.join();
        }
    }
}

fn log_closed() -> LogError {
    log_unavailable("the message log is closed")
}

fn run_reader(store: &LogDatabase, queue: &Mutex<Receiver<ReadJob>>) {
    loop {
        let job = queue.lock().recv();
        let Ok(job) = job else { return };
        // A panic drops the job's answer, which its caller is told as a failure of the log.
        let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
    }
}
