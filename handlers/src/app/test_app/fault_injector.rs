//! Ports that fail, or act, at a chosen moment.

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

/// What goes wrong, and the log that it goes wrong with.
pub(crate) struct FaultInjector {
    log: Mutex<Arc<MemoryLog>>,
    clock: Arc<ManualClock>,
    /// Appends are answered: full.
    pub(crate) log_full: Mutex<bool>,
    /// How many more reads and head look-ups succeed; `usize::MAX` for all.
    pub(crate) reads_before_failure: AtomicUsize,
    /// Deliveries to channels fail.
    pub(crate) delivery_unavailable: Mutex<bool>,
    /// Messages that are still to be said into each channel right before it is released.
    pub(crate) appends_before_resume: Mutex<Vec<AppendRequest>>,
    /// How far each delivery to a connection moves the clock.
    pub(crate) delivery_delay: Mutex<Duration>,
    /// After how many more deliveries to connections they have gone; `usize::MAX` for never.
    pub(crate) deliveries_before_gone: AtomicUsize,
    /// How many channels were released.
    pub(crate) resume_count: AtomicUsize,
}

pub(crate) struct FaultyLog(pub(crate) Arc<FaultInjector>);

pub(crate) struct FaultyDelivery {
    pub(crate) inner: Arc<MemoryDelivery>,
    pub(crate) faults: Arc<FaultInjector>,
}

#[derive(Debug, thiserror::Error)]
#[error("as arranged")]
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

    /// Puts an empty log of another epoch in the place of the present one.
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

/// Takes one off what is left, unless nothing is.
fn decrement_unless_zero(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
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
        let said = self.faults.appends_before_resume.lock().pop();
        if let Some(append) = said {
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
