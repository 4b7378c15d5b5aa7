//! The one thread that writes: takes what has queued, commits it in one transaction, answers all.
//!
//! The queue is bounded by [`QUEUE_KIB`]; an append that finds no room waits for it until its deadline. While a commit
//! runs, the next batch gathers by itself: the slower the disk, the larger the batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use handlers::channel::Channel;
use handlers::id::{MessageId, UserId};
use handlers::ports::{Append, Appended, Clock, LogError, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::batch::{self, Applied};
use super::ends::Ends;
use super::epochs::Epochs;
use super::fault::{Fault, unavailable};
use super::metrics::LogMetrics;
use super::record;
use super::retention::{self, Cursor, Limits};
use super::store::Store;

/// What may queue, in KiB of records, each rounded up: 16 MiB, or as many small messages as 100 commits take.
const QUEUE_KIB: usize = 16 * 1024;
/// Most messages of one transaction: some 10 ms of work beside the `fsync`.
const BATCH_MESSAGES: usize = 1_024;
/// How often retention looks at channels that nobody writes to.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long appends are refused at least after a failed commit. Each attempt on a failed file costs a repair.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// How much longer than the repair itself a refusal lasts, so that repairs never take most of the time.
const PAUSE_PER_REPAIR: u32 = 4;

/// How long appends are refused after a repair that took so long.
pub(super) fn pause_after(repair: Duration) -> Duration {
    repair.saturating_mul(PAUSE_PER_REPAIR).max(LEAST_PAUSE)
}

/// A message on its way into the file.
pub(super) struct Message {
    pub channel: Channel,
    pub role: u8,
    pub user: UserId,
    pub id: MessageId,
    pub sent_at: Timestamp,
    pub record: Vec<u8>,
}

struct Job {
    message: Message,
    answer: oneshot::Sender<Result<Appended, LogError>>,
    /// The job's place in the queue.
    _room: OwnedSemaphorePermit,
}

/// What the writer works with.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub ends: Arc<Ends>,
    pub metrics: LogMetrics,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    /// How long appends are refused after a failure: [`pause_after`], or not at all in tests.
    pub pause_after: fn(Duration) -> Duration,
}

/// The writer's end that appends use.
pub(super) struct Writer {
    room: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<Box<Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(parts: Parts, epochs: Epochs) -> std::io::Result<Self> {
        // Every job holds at least one permit, so the channel has always room for a job that got its permits.
        let (jobs, queue) = sync_channel(QUEUE_KIB);
        let mut work = Work { parts, epochs, queue, cursor: Cursor::default(), refusing: None, swept: Instant::now() };
        let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || work.run())?;
        let room = Arc::new(Semaphore::new(QUEUE_KIB));
        Ok(Self { room, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues one message and waits for its commit. The caller sets the deadline; a message whose caller has gone is
    /// committed all the same.
    pub(super) async fn append(&self, append: &Append) -> Result<Appended, LogError> {
        let message = Message::new(append).map_err(Fault::report)?;
        let size = u32::try_from(message.record.len() / 1_024 + 1).unwrap_or(u32::MAX).min(QUEUE_KIB as u32);
        let room = self.room.clone().acquire_many_owned(size).await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(Job { message, answer, _room: room }))?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    fn send(&self, job: Box<Job>) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        jobs.as_ref().ok_or_else(closed)?.try_send(job).map_err(|_| closed())
    }

    /// Takes no more messages, and returns when those that queued are committed.
    pub(super) fn stop(&self) {
        *self.jobs.lock() = None;
        if let Some(thread) = self.thread.lock().take() {
            // It catches its own panics; there is nothing left to report.
            let _ = thread.join();
        }
    }
}

fn closed() -> LogError {
    unavailable("the message log is closed")
}

impl Message {
    fn new(append: &Append) -> Result<Self, Fault> {
        Ok(Self {
            channel: append.channel.clone(),
            role: record::role_number(append.sender.role),
            user: append.sender.user.clone(),
            id: append.id.clone(),
            sent_at: append.sent_at,
            record: record::encode(append)?,
        })
    }
}

struct Work {
    parts: Parts,
    epochs: Epochs,
    queue: Receiver<Box<Job>>,
    cursor: Cursor,
    /// Until when appends are refused, and with what.
    refusing: Option<(Instant, Fault)>,
    swept: Instant,
}

impl Work {
    /// Works until nobody can send any more and the queue is empty.
    fn run(&mut self) {
        loop {
            match self.queue.recv_timeout(SWEEP_INTERVAL) {
                Ok(first) => self.commit(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.swept.elapsed() >= SWEEP_INTERVAL && self.refusal().is_none() {
                self.sweep();
                self.swept = Instant::now();
            }
        }
    }

    fn commit(&mut self, first: Box<Job>) {
        let jobs: Vec<_> = std::iter::once(first).chain(self.queue.try_iter().take(BATCH_MESSAGES - 1)).collect();
        let outcome = match self.refusal() {
            Some(fault) => Err(fault),
            None => self.write(&jobs),
        };
        match outcome {
            Ok(answers) => jobs.into_iter().zip(answers).for_each(|(job, answer)| drop(job.answer.send(Ok(answer)))),
            Err(fault) => jobs.into_iter().for_each(|job| drop(job.answer.send(Err(fault.clone().report())))),
        }
    }

    fn write(&mut self, jobs: &[Box<Job>]) -> Result<Vec<Appended>, Fault> {
        if !self.parts.store.is_open() {
            self.reopen().map_err(|fault| self.refuse(fault, Duration::ZERO))?;
        }
        let now = self.parts.clock.now();
        let (epochs, limits) = (&self.epochs, &self.parts.limits);
        let mut repeats = None;
        let written = guarded(|| {
            self.parts.store.write(|transaction| {
                let applied = batch::apply(transaction, jobs.iter().map(|job| &job.message), epochs, limits, now)?;
                if applied.changed.is_empty() {
                    repeats = Some(applied);
                    return Ok(None);
                }
                Ok(Some(applied))
            })
        });
        match written {
            Ok(written) => {
                Ok(written.map(|applied| self.publish(applied)).or(repeats.map(|repeats| self.count(repeats))))
            }
            Err(fault) => Err(self.recover(fault)),
        }
        .map(Option::unwrap_or_default)
    }

    /// What was committed becomes visible before anybody is answered.
    fn publish(&self, mut applied: Applied) -> Vec<Appended> {
        self.parts.ends.insert(std::mem::take(&mut applied.changed).into_iter());
        self.parts.metrics.commits.inc();
        self.count(applied)
    }

    fn count(&self, applied: Applied) -> Vec<Appended> {
        let duplicates = applied.answers.iter().filter(|answer| answer.duplicate).count();
        self.parts.metrics.duplicates.inc_by(duplicates as u64);
        self.parts.metrics.appended.inc_by((applied.answers.len() - duplicates) as u64);
        self.parts.metrics.expired.inc_by(applied.dropped as u64);
        applied.answers
    }

    fn sweep(&mut self) {
        let now = self.parts.clock.now();
        let (store, limits, cursor) = (&self.parts.store, &self.parts.limits, &mut self.cursor);
        let swept = guarded(|| {
            let overdue = store.read(|transaction| retention::overdue(transaction, cursor, limits, now))?;
            if overdue.is_empty() {
                return Ok(None);
            }
            store.write(|transaction| retention::sweep(transaction, &overdue, limits, now).map(Some))
        });
        match swept {
            Ok(Some(swept)) => {
                self.parts.ends.insert(swept.changed.into_iter());
                self.parts.metrics.commits.inc();
                self.parts.metrics.expired.inc_by(swept.dropped as u64);
            }
            Ok(None) => {}
            Err(fault) => drop(self.recover(fault)),
        }
    }

    /// What appends are refused with at present.
    fn refusal(&self) -> Option<Fault> {
        let (until, fault) = self.refusing.as_ref()?;
        (Instant::now() < *until).then(|| fault.clone())
    }

    /// After a failure only the file knows what is in it: everything remembered goes, and the file is opened anew.
    fn recover(&mut self, fault: Fault) -> Fault {
        self.parts.metrics.failures.inc();
        tracing::warn!(error = %errors::chain(&fault), "the message log could not be written; opening it anew");
        self.parts.ends.clear();
        let repair = self.reopen().unwrap_or_default();
        self.refuse(fault, repair)
    }

    fn reopen(&self) -> Result<Duration, Fault> {
        let reopened = guarded(|| self.parts.store.reopen());
        match &reopened {
            Ok(_) => {
                self.parts.metrics.reopened.inc();
            }
            Err(broken) => {
                tracing::error!(error = %errors::chain(broken), "the message log cannot be opened; it is tried again")
            }
        }
        reopened
    }

    /// Refuses appends for a while, with this fault or, where the disk is full, with that.
    fn refuse(&mut self, fault: Fault, repair: Duration) -> Fault {
        let answer = if fault.is_full() { Fault::NoRoom } else { fault.clone() };
        self.refusing = Some((Instant::now() + (self.parts.pause_after)(repair), answer));
        fault
    }
}

/// A panic in the database must not end the thread that everything waits for.
fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Fault::corrupt("the database panicked")))
}
