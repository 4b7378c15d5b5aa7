//! Writer thread: commits all queued appends in one transaction and replies to them.
//!
//! The queue is bounded by [`QUEUE_CAPACITY_KIB`]; further appends wait for capacity until their deadline. Appends that
//! arrive during a commit form the next batch, so batches grow with the latency of the disk.

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

/// Capacity of the queue in KiB of records, each rounded up to 1 KiB: 16 MiB, or 16 full batches of small messages.
const QUEUE_CAPACITY_KIB: usize = 16 * 1024;
/// Maximum number of messages per transaction: about 10 ms of work in addition to the `fsync`.
const MAX_BATCH_MESSAGES: usize = 1_024;
/// Interval between retention sweeps of channels without writes.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time for which appends are rejected after a failed commit, because each attempt on a failed file costs a
/// repair.
const MIN_REJECT_DURATION: Duration = Duration::from_secs(1);
/// Ratio of the rejection time to the time of the repair, which bounds the share of time spent on repairs to 20 %.
const REJECT_DURATION_PER_REPAIR: u32 = 4;

/// Returns the time for which appends are rejected after a repair of this duration.
pub(super) fn reject_duration_after(repair: Duration) -> Duration {
    repair.saturating_mul(REJECT_DURATION_PER_REPAIR).max(MIN_REJECT_DURATION)
}

/// A message to append, with its encoded record.
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
    /// Share of the queue's capacity, released on drop.
    _permit: OwnedSemaphorePermit,
}

/// Dependencies of the writer.
pub(super) struct WriterContext {
    pub database: Arc<LogDatabase>,
    pub head_cache: Arc<HeadCache>,
    pub metrics: FileLogMetrics,
    pub limits: RetentionLimits,
    pub clock: Arc<dyn Clock>,
    /// Function [`reject_duration_after`], or one that returns zero in tests.
    pub reject_duration_after: fn(Duration) -> Duration,
}

/// Handle of the writer thread.
pub(super) struct LogWriter {
    permits: Arc<Semaphore>,
    jobs: Mutex<Option<SyncSender<Box<AppendJob>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LogWriter {
    pub(super) fn start(context: WriterContext, epochs: ChannelEpochs) -> std::io::Result<Self> {
        // Each job holds at least one permit, so the channel always has a free slot for a job with permits.
        let (jobs, queue) = sync_channel(QUEUE_CAPACITY_KIB);
        let mut task = WriterTask {
            context,
            epochs,
            queue,
            cursor: SweepCursor::default(),
            rejecting: None,
            last_sweep: Instant::now(),
        };
        let thread = thread::Builder::new().name("log-writer".to_owned()).spawn(move || task.run_writer())?;
        let permits = Arc::new(Semaphore::new(QUEUE_CAPACITY_KIB));
        Ok(Self { permits, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Enqueues one message and waits for its commit. The caller sets the deadline; if the future is dropped while the
    /// message is queued, the message is committed nevertheless.
    pub(super) async fn append(&self, append: &AppendRequest) -> Result<AppendOutcome, LogError> {
        let message = QueuedMessage::new(append).map_err(FileLogError::into_log_error)?;
        let size = u32::try_from(message.record.len() / 1_024 + 1).unwrap_or(u32::MAX).min(QUEUE_CAPACITY_KIB as u32);
        let permit = self.permits.clone().acquire_many_owned(size).await.map_err(|_| log_closed())?;
        let (reply, outcome) = oneshot::channel();
        self.enqueue_job(Box::new(AppendJob { message, reply, _permit: permit }))?;
        outcome.await.unwrap_or_else(|_| Err(log_closed()))
    }

    fn enqueue_job(&self, job: Box<AppendJob>) -> Result<(), LogError> {
        let jobs = self.jobs.lock();
        jobs.as_ref().ok_or_else(log_closed)?.try_send(job).map_err(|_| log_closed())
    }

    /// Rejects further messages and returns when the queued ones are committed.
    pub(super) fn stop(&self) {
        *self.jobs.lock() = None;
        if let Some(thread) = self.thread.lock().take() {
            // The thread catches panics, so the result contains no information.
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
    /// Deadline until which appends are rejected, and their error.
    rejecting: Option<(Instant, FileLogError)>,
    last_sweep: Instant,
}

impl WriterTask {
    /// Runs until all senders are dropped and the queue is empty.
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
            Some(error) => Err(error),
            None => self.write_batch(&jobs),
        };
        match outcome {
            Ok(appended) => jobs.into_iter().zip(appended).for_each(|(job, outcome)| drop(job.reply.send(Ok(outcome)))),
            Err(error) => jobs.into_iter().for_each(|job| drop(job.reply.send(Err(error.clone().into_log_error())))),
        }
    }

    fn write_batch(&mut self, jobs: &[Box<AppendJob>]) -> Result<Vec<AppendOutcome>, FileLogError> {
        if !self.context.database.is_open() {
            self.reopen_database().map_err(|error| self.start_rejecting(error, Duration::ZERO))?;
        }
        let now = self.context.clock.now();
        let (epochs, limits) = (&self.epochs, &self.context.limits);
        let mut duplicates = None;
        let written = catch_panic(|| {
            self.context.database.with_transaction(|transaction| {
                let applied =
                    batch::apply_batch(transaction, jobs.iter().map(|job| &job.message), epochs, limits, now)?;
                if applied.changed.is_empty() {
                    duplicates = Some(applied);
                    return Ok(None);
                }
                Ok(Some(applied))
            })
        });
        match written {
            Ok(written) => Ok(written
                .map(|applied| self.record_commit(applied))
                .or(duplicates.map(|duplicates| self.count_appends(duplicates)))),
            Err(error) => Err(self.recover_from(error)),
        }
        .map(Option::unwrap_or_default)
    }

    /// Updates the head cache, which must happen before the replies, and counts the appends.
    fn record_commit(&self, mut applied: AppliedBatch) -> Vec<AppendOutcome> {
        self.context.head_cache.insert(std::mem::take(&mut applied.changed).into_iter());
        self.context.metrics.commits.inc();
        self.count_appends(applied)
    }

    fn count_appends(&self, applied: AppliedBatch) -> Vec<AppendOutcome> {
        let duplicates = applied.appended.iter().filter(|outcome| outcome.duplicate).count();
        self.context.metrics.duplicate_appends.inc_by(duplicates as u64);
        self.context.metrics.appended_messages.inc_by((applied.appended.len() - duplicates) as u64);
        self.context.metrics.expired_messages.inc_by(applied.expired as u64);
        applied.appended
    }

    fn run_sweep(&mut self) {
        let now = self.context.clock.now();
        let (database, limits, cursor) = (&self.context.database, &self.context.limits, &mut self.cursor);
        let swept = catch_panic(|| {
            let overdue =
                database.with_snapshot(|transaction| retention::find_overdue(transaction, cursor, limits, now))?;
            if overdue.is_empty() {
                return Ok(None);
            }
            database
                .with_transaction(|transaction| retention::sweep_channels(transaction, &overdue, limits, now).map(Some))
        });
        match swept {
            Ok(Some(swept)) => {
                self.context.head_cache.insert(swept.changed.into_iter());
                self.context.metrics.commits.inc();
                self.context.metrics.expired_messages.inc_by(swept.expired as u64);
            }
            Ok(None) => {}
            Err(error) => drop(self.recover_from(error)),
        }
    }

    /// Returns the error that appends are currently rejected with, if any.
    fn active_rejection(&self) -> Option<FileLogError> {
        let (deadline, error) = self.rejecting.as_ref()?;
        (Instant::now() < *deadline).then(|| error.clone())
    }

    /// Clears the head cache, because after a failure only the file has the current state, and reopens the file.
    fn recover_from(&mut self, error: FileLogError) -> FileLogError {
        self.context.metrics.failed_transactions.inc();
        tracing::warn!(error = %errors::chain(&error), "message log write failed; reopening the file");
        self.context.head_cache.clear();
        let repair = self.reopen_database().unwrap_or_default();
        self.start_rejecting(error, repair)
    }

    fn reopen_database(&self) -> Result<Duration, FileLogError> {
        let reopened = catch_panic(|| self.context.database.reopen());
        match &reopened {
            Ok(_) => {
                self.context.metrics.reopens.inc();
            }
            Err(error) => {
                tracing::error!(error = %errors::chain(error), "message log reopen failed; retrying");
            }
        }
        reopened
    }

    /// Starts to reject appends with this error, or with [`FileLogError::StorageFull`] if the disk is full.
    fn start_rejecting(&mut self, error: FileLogError, repair: Duration) -> FileLogError {
        let rejection = if error.is_full() { FileLogError::StorageFull } else { error.clone() };
        self.rejecting = Some((Instant::now() + (self.context.reject_duration_after)(repair), rejection));
        error
    }
}

/// Converts a panic in the database into an error, so that it does not end the writer thread.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, FileLogError>) -> Result<T, FileLogError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(FileLogError::corrupt("the database panicked")))
}
