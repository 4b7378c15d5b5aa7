//! Ports that fail, or append messages, at a chosen point.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::audience::Audience;
use crate::channel::{Channel, Epoch, Position};
use crate::frame::{EncodeFrame, MessageFrame};
use crate::id::ConnectionId;
use crate::memory::{ChannelRetention, ManualClock, MemoryDelivery, MemoryLog};
use crate::ports::{
    AppendOutcome, AppendRequest, CloseReason, Delivery, DeliveryError, DeliveryOutcome, LogError, LogRange, LogSlice,
    MessageLog, OutgoingFrame, Placement, Priority, ResumeOutcome,
};

/// Faults to inject, and the log that [`FaultyLog`] wraps.
pub(crate) struct FaultInjector {
    log: Mutex<Arc<MemoryLog>>,
    clock: Arc<ManualClock>,
    /// Makes appends fail with [`LogError::Full`].
    pub(crate) log_full: Mutex<bool>,
    /// Number of reads and head lookups that still succeed; `usize::MAX` for all.
    pub(crate) reads_before_failure: AtomicUsize,
    /// Makes deliveries to channels, users and roles fail.
    pub(crate) delivery_unavailable: Mutex<bool>,
    /// Messages to append and deliver, one before each resumed channel, last one first.
    pub(crate) appends_before_resume: Mutex<Vec<AppendRequest>>,
    /// Time by which each delivery to a connection advances the clock.
    pub(crate) delivery_delay: Mutex<Duration>,
    /// Number of deliveries to connections until the connection is gone; `usize::MAX` for never.
    pub(crate) deliveries_before_gone: AtomicUsize,
    /// Number of calls of [`Delivery::resume_channel`].
    pub(crate) resume_count: AtomicUsize,
}

pub(crate) struct FaultyLog(pub(crate) Arc<FaultInjector>);

pub(crate) struct FaultyDelivery {
    pub(crate) inner: Arc<MemoryDelivery>,
    pub(crate) faults: Arc<FaultInjector>,
}

#[derive(Debug, thiserror::Error)]
#[error("injected failure")]
struct InjectedError;

impl FaultInjector {
    pub(crate) fn new(log: MemoryLog, clock: Arc<ManualClock>) -> Self {
        Self {
            log: Mutex::new(Arc::new(log)),
            clock,
            log_full: Mutex::default(),
            reads_before_failure: AtomicUsize::new(usize::MAX),
            delivery_unavailable: Mutex::default(),
            appends_before_resume: Mutex::default(),
            delivery_delay: Mutex::default(),
            deliveries_before_gone: AtomicUsize::new(usize::MAX),
            resume_count: AtomicUsize::new(0),
        }
    }

    /// Replaces the log with an empty one of another epoch.
    pub(crate) fn replace_log(&self, epoch: &str) {
        let retention = ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 };
        *self.log.lock() = Arc::new(MemoryLog::new(Epoch(epoch.into()), retention));
    }

    fn current_log(&self) -> Arc<MemoryLog> {
        self.log.lock().clone()
    }

    fn count_read(&self) -> Result<(), LogError> {
        if decrement_unless_zero(&self.reads_before_failure) {
            Ok(())
        } else {
            Err(LogError::Unavailable(Box::new(InjectedError)))
        }
    }
}

/// Decrements the counter and returns `true`, or returns `false` if it is 0. `usize::MAX` is never decremented.
fn decrement_unless_zero(counter: &AtomicUsize) -> bool {
    let decrement = |count: usize| if count == usize::MAX { Some(count) } else { count.checked_sub(1) };
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, decrement).is_ok()
}

#[async_trait]
impl MessageLog for FaultyLog {
    async fn append(&self, append: AppendRequest) -> Result<AppendOutcome, LogError> {
        if *self.0.log_full.lock() {
            return Err(LogError::Full(Box::new(InjectedError)));
        }
        self.0.current_log().append(append).await
    }

    async fn read(
        &self,
        channel: &Channel,
        range: LogRange,
        limit: usize,
        max_bytes: usize,
    ) -> Result<LogSlice, LogError> {
        self.0.count_read()?;
        self.0.current_log().read(channel, range, limit, max_bytes).await
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        self.0.count_read()?;
        self.0.current_log().heads(channels).await
    }
}

#[async_trait]
impl Delivery for FaultyDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        if matches!(audience, Audience::Connection(_)) {
            self.faults.clock.advance(*self.faults.delivery_delay.lock());
            if !decrement_unless_zero(&self.faults.deliveries_before_gone) {
                return Ok(DeliveryOutcome::ConnectionGone);
            }
        } else if *self.faults.delivery_unavailable.lock() {
            return Err(DeliveryError::Unavailable(Box::new(InjectedError)));
        }
        self.inner.deliver(audience, outgoing).await
    }

    async fn pause_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        self.inner.pause_channels(connection, channels).await
    }

    async fn resume_channel(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        self.faults.resume_count.fetch_add(1, Ordering::SeqCst);
        let append = self.faults.appends_before_resume.lock().pop();
        if let Some(append) = append {
            let appended = self.faults.current_log().append(append.clone()).await.unwrap();
            let frame = MessageFrame::from_append(&append, &appended).encode();
            let placement = Some(Placement { channel: append.channel.clone(), position: appended.position });
            let outgoing = OutgoingFrame { frame, priority: Priority::Direct, placement };
            self.inner.deliver(&Audience::Channel(append.channel), outgoing).await?;
        }
        self.inner.resume_channel(connection, channel, through).await
    }

    async fn detach_channels(
        &self,
        connection: &ConnectionId,
        channels: &[Channel],
    ) -> Result<DeliveryOutcome, DeliveryError> {
        self.inner.detach_channels(connection, channels).await
    }

    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        self.inner.close_connection(connection, reason).await
    }
}
