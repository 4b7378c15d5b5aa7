//! The one thread that writes: takes what has queued, commits it in one transaction, answers all.
//!
//! The queue is bounded by [`QUEUE_CAPACITY_KIB`]; an append that finds no room waits for it until its deadline. While a commit
//! runs, the next batch gathers by itself: the slower the disk, the larger the batches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use handlers::channel::Channel;
use handlers::id::{MessageId, UserId};
use handlers::ports::{AppendOutcome, AppendRequest, Clock, LogError, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::batch::{self, AppliedBatch};
use super::database::LogDatabase;
use super::epochs::ChannelEpochs;
use super::error::{FileLogError, log_unavailable};
use super::head_cache::HeadCache;
use super::metrics::FileLogMetrics;
use super::record;
use super::retention::{self, RetentionLimits, SweepCursor};

/// What may queue, in KiB of records, each rounded up: 16 MiB, or as many small messages as 100 commits take.
const QUEUE_CAPACITY_KIB: usize = 16 * 1024;
/// Most messages of one transaction: some 10 ms of work beside the `fsync`.
const MAX_BATCH_MESSAGES: usize = 1_024;
/// How often retention looks at channels that nobody writes to.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long appends are refused at least after a failed commit. Each attempt on a failed file costs a repair.
const MIN_REJECT_DURATION: Duration = Duration::from_secs(1);
/// How much longer than the repair itself a refusal lasts, so that repairs never take most of the time.
const REJECT_DURATION_PER_REPAIR: u32 = 4;

/// How long appends are refused after a repair that took so long.
pub(super) fn reject_duration_after(repair: Duration) -> Duration {
    repair.saturating_mul(REJECT_DURATION_PER_REPAIR).max(MIN_REJECT_DURATION)
}

/// A message on its way into the file.
pub(super) struct QueuedMessage {
    pub channel: Channel,
    pub role: u8,
    pub user: UserId,
    pub id: MessageId,
    pub sent_at: Timestamp,
    pub record: Vec<u8>,
}

struct AppendJob {
    message: QueuedMessage,
    reply: oneshot::Sender<Result<AppendOutcome, LogError>>,
    /// The job's place in the queue.
    _permit: OwnedSemaphorePermit,
}

/// What the writer works with.
pub(super) struct WriterContext {
    pub database: Arc<LogDatabase>,
    pub head_cache: Arc<HeadCache>,
    pub metrics: FileLogMetrics,
    pub limits: RetentionLimits,
    pub clock: Arc<dyn Clock>,
    /// How long appends are refused after a failure: [`reject_duration_after`], or not at all in tests.
    pub reject_duration_after: fn(Duration) -> Duration,
}

/// The writer's end that appends use.
pub(super) struct LogWriter {
    permits: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<Box<AppendJob>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogWriter {
    pub(super) fn start(parts: WriterContext, epochs: ChannelEpochs) -> std::io::Result<Self> {
        // Every job holds at least one permit, so the channel has always room for a job that got its permits.
        let (jobs, queue) = sync_channel(QUEUE_CAPACITY_KIB);
        let mut work = WriterTask {
            context: parts,
            epochs,
            queue,
            cursor: SweepCursor::default(),
            rejecting: None,
            last_sweep: Instant::now(),
        };
        let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || work.run_writer())?;
        let room = Arc::new(Semaphore::new(QUEUE_CAPACITY_KIB));
        Ok(Self { permits: room, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues one message and waits for its commit. The caller sets the deadline; a message whose caller has gone is
    /// committed all the same.
    pub(super) async fn append(&self, append: &AppendRequest) -> Result<AppendOutcome, LogError> {
        let message = QueuedMessage::new(append).map_err(FileLogError::into_log_error)?;
        let size = u32::try_from(message.record.len() / 1_024 + 1).unwrap_or(u32::MAX).min(QUEUE_CAPACITY_KIB as u32);
        let room = self.permits.clone().acquire_many_owned(size).await.map_err(|_| log_closed())?;
        let (answer, answered) = oneshot::channel();
        self.enqueue_job(Box::new(AppendJob { message, reply: answer, _permit: room }))?;
        answered.await.unwrap_or_else(|_| Err(log_closed()))
    }

    fn enqueue_job(&self, job: Box<AppendJob>) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        jobs.as_ref().ok_or_else(log_closed)?.try_send(job).map_err(|_| log_closed())
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

fn log_closed() -> LogError {
    log_unavailable("the message log is closed")
}

impl QueuedMessage {
    fn new(append: &AppendRequest) -> Result<Self, FileLogError> {
        Ok(Self {
            channel: append.channel.clone(),
            role: record::role_number(append.sender.role),
            user: append.sender.user.clone(),
            id: append.id.clone(),
            sent_at: append.sent_at,
            record: record::encode_record(append)?,
        })
    }
}

struct WriterTask {
    context: WriterContext,
    epochs: ChannelEpochs,
    queue: Receiver<Box<AppendJob>>,
    cursor: SweepCursor,
    /// Until when appends are refused, and with what.
    rejecting: Option<(Instant, FileLogError)>,
    last_sweep: Instant,
}

impl WriterTask {
    /// Works until nobody can send any more and the queue is empty.
    fn run_writer(&mut self) {
        loop {
            match self.queue.recv_timeout(SWEEP_INTERVAL) {
                Ok(first) => self.commit_batch(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.last_sweep.elapsed() >= SWEEP_INTERVAL && self.active_rejection().is_none() {
                self.run_sweep();
                self.last_sweep = Instant::now();
            }
        }
    }

    fn commit_batch(&mut self, first: Box<AppendJob>) {
        let jobs: Vec<_> = std::iter::once(first).chain(self.queue.try_iter().take(MAX_BATCH_MESSAGES - 1)).collect();
        let outcome = match self.active_rejection() {
            Some(fault) => Err(fault),
            None => self.write_batch(&jobs),
        };
        match outcome {
            Ok(answers) => jobs.into_iter().zip(answers).for_each(|(job, answer)| drop(job.reply.send(Ok(answer)))),
            Err(fault) => jobs.into_iter().for_each(|job| drop(job.reply.send(Err(fault.clone().into_log_error())))),
        }
    }

    fn write_batch(&mut self, jobs: &[Box<AppendJob>]) -> Result<Vec<AppendOutcome>, FileLogError> {
        if !self.context.database.is_open() {
            self.reopen_database().map_err(|fault| self.start_rejecting(fault, Duration::ZERO))?;
        }
        let now = self.context.clock.now();
        let (epochs, limits) = (&self.epochs, &self.context.limits);
        let mut repeats = None;
        let written = catch_panic(|| {
            self.context.database.with_transaction(|transaction| {
                let applied =
                    batch::apply_batch(transaction, jobs.iter().map(|job| &job.message), epochs, limits, now)?;
                if applied.changed.is_empty() {
                    repeats = Some(applied);
                    return Ok(None);
                }
                Ok(Some(applied))
            })
        });
        match written {
            Ok(written) => Ok(written
                .map(|applied| self.record_commit(applied))
                .or(repeats.map(|repeats| self.count_appends(repeats)))),
            Err(fault) => Err(self.recover_from(fault)),
        }
        .map(Option::unwrap_or_default)
    }

    /// What was committed becomes visible before anybody is answered.
    fn record_commit(&self, mut applied: AppliedBatch) -> Vec<AppendOutcome> {
        self.context.head_cache.insert(std::mem::take(&mut applied.changed).into_iter());
        self.context.metrics.commits.inc();
        self.count_appends(applied)
    }

    fn count_appends(&self, applied: AppliedBatch) -> Vec<AppendOutcome> {
        let duplicates = applied.appended.iter().filter(|answer| answer.duplicate).count();
        self.context.metrics.duplicate_appends.inc_by(duplicates as u64);
        self.context.metrics.appended_messages.inc_by((applied.appended.len() - duplicates) as u64);
        self.context.metrics.expired_messages.inc_by(applied.expired as u64);
        applied.appended
    }

    fn run_sweep(&mut self) {
        let now = self.context.clock.now();
        let (store, limits, cursor) = (&self.context.database, &self.context.limits, &mut self.cursor);
        let swept = catch_panic(|| {
            let overdue =
                store.with_snapshot(|transaction| retention::find_overdue(transaction, cursor, limits, now))?;
            if overdue.is_empty() {
                return Ok(None);
            }
            store
                .with_transaction(|transaction| retention::sweep_channels(transaction, &overdue, limits, now).map(Some))
        });
        match swept {
            Ok(Some(swept)) => {
                self.context.head_cache.insert(swept.changed.into_iter());
                self.context.metrics.commits.inc();
                self.context.metrics.expired_messages.inc_by(swept.expired as u64);
            }
            Ok(None) => {}
            Err(fault) => drop(self.recover_from(fault)),
        }
    }

    /// What appends are refused with at present.
    fn active_rejection(&self) -> Option<FileLogError> {
        let (until, fault) = self.rejecting.as_ref()?;
        (Instant::now() < *until).then(|| fault.clone())
    }

    /// After a failure only the file knows what is in it: everything remembered goes, and the file is opened anew.
    fn recover_from(&mut self, fault: FileLogError) -> FileLogError {
        self.context.metrics.failed_transactions.inc();
        tracing::warn!(error = %errors::chain(&fault), "the message log could not be written; opening it anew");
        self.context.head_cache.clear();
        let repair = self.reopen_database().unwrap_or_default();
        self.start_rejecting(fault, repair)
    }

    fn reopen_database(&self) -> Result<Duration, FileLogError> {
        let reopened = catch_panic(|| self.context.database.reopen());
        match &reopened {
            Ok(_) => {
                self.context.metrics.reopens.inc();
            }
            Err(broken) => {
                tracing::error!(error = %errors::chain(broken), "the message log cannot be opened; it is tried again")
            }
        }
        reopened
    }

    /// Refuses appends for a while, with this fault or, where the disk is full, with that.
    fn start_rejecting(&mut self, fault: FileLogError, repair: Duration) -> FileLogError {
        let answer = if fault.is_full() { FileLogError::StorageFull } else { fault.clone() };
        self.rejecting = Some((Instant::now() + (self.context.reject_duration_after)(repair), answer));
        fault
    }
}

/// A panic in the database must not end the thread that everything waits for.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, FileLogError>) -> Result<T, FileLogError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FileLogError::corrupt("the database panicked")))
}
