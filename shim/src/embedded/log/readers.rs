//! The threads that read: a disk that is slow to answer holds up these two and never a worker of the runtime.
//!
//! Bound: [`QUEUE`] reads may wait; one that finds no room waits for it until its caller's deadline.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use handlers::ports::LogError;
use parking_lot::Mutex;
use redb::ReadTransaction;
use tokio::sync::{Semaphore, oneshot};

use super::fault::{Fault, unavailable};
use super::store::Store;

/// How many reads may wait.
const QUEUE: usize = 1_024;
/// How many run at a time. Reads are short and mostly come from memory.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce(&Store) + Send>;

pub(super) struct Readers {
    room: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(store: &Arc<Store>) -> std::io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let (store, queue) = (store.clone(), queue.clone());
            thread::Builder::new().name(format!("log-reader-{number}")).spawn(move || work(&store, &queue))
        };
        let threads = (0..THREADS).map(start).collect::<Result<Vec<_>, _>>()?;
        let room = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { room, jobs: Mutex::new(Some(jobs)), threads: Mutex::new(threads) })
    }

    /// Runs `work` on a snapshot that is taken after this call.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LogError> {
        let room = self.room.clone().acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(move |store| {
            // Whoever has stopped waiting needs no answer, and the disk has enough to do.
            if !answer.is_closed() {
                let _ = answer.send(store.read(work));
            }
            drop(room);
        }))?;
        answered.await.unwrap_or(Err(Fault::corrupt("the database panicked"))).map_err(Fault::report)
    }

    fn send(&self, job: Job) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        // A job holds a permit, and there are as many permits as places: the channel is never full.
        jobs.as_ref().ok_or_else(closed)?.try_send(job).map_err(|_| closed())
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

fn closed() -> LogError {
    unavailable("the message log is closed")
}

fn work(store: &Store, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().recv();
        let Ok(job) = job else { return };
        // A panic drops the job's answer, which its caller is told as a failure of the log.
        let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
    }
}
