//! Ports that fail, or act, at a chosen moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::audience::Audience;
use crate::channel::{Channel, Epoch, Position};
use crate::frame::{Frame, MessageFrame};
use crate::id::ConnectionId;
use crate::memory::{ManualClock, MemoryDelivery, MemoryLog, Retention};
use crate::ports::{
    Append, Appended, CloseReason, Delivered, Delivery, DeliveryError, LogError, MessageLog, Outgoing, Placement,
    Priority, Range, Released, Slice,
};

/// What goes wrong, and the log that it goes wrong with.
pub(crate) struct Trouble {
    log: Mutex<Arc<MemoryLog>>,
    clock: Arc<ManualClock>,
    /// Appends are answered: full.
    pub(crate) log_full: Mutex<bool>,
    /// How many more reads and head look-ups succeed; `usize::MAX` for all.
    pub(crate) reads_left: AtomicUsize,
    /// Deliveries to channels fail.
    pub(crate) delivery_away: Mutex<bool>,
    /// Messages that are still to be said into each channel right before it is released.
    pub(crate) before_release: Mutex<Vec<Append>>,
    /// How far each delivery to a connection moves the clock.
    pub(crate) slowness: Mutex<Duration>,
    /// After how many more deliveries to connections they have gone; `usize::MAX` for never.
    pub(crate) frames_left: AtomicUsize,
    /// How many channels were released.
    pub(crate) releases: AtomicUsize,
}

pub(crate) struct TroubledLog(pub(crate) Arc<Trouble>);

pub(crate) struct TroubledDelivery {
    pub(crate) inner: Arc<MemoryDelivery>,
    pub(crate) trouble: Arc<Trouble>,
}

#[derive(Debug, thiserror::Error)]
#[error("as arranged")]
struct Arranged;

impl Trouble {
    pub(crate) fn new(log: MemoryLog, clock: Arc<ManualClock>) -> Self {
        Self {
            log: Mutex::new(Arc::new(log)),
            clock,
            log_full: Mutex::default(),
            reads_left: AtomicUsize::new(usize::MAX),
            delivery_away: Mutex::default(),
            before_release: Mutex::default(),
            slowness: Mutex::default(),
            frames_left: AtomicUsize::new(usize::MAX),
            releases: AtomicUsize::new(0),
        }
    }

    /// Puts an empty log of another epoch in the place of the present one.
    pub(crate) fn lose_log(&self, epoch: &str) {
        let retention = Retention { entries: 1_000, bytes: 1 << 20 };
        *self.log.lock() = Arc::new(MemoryLog::new(Epoch(epoch.into()), retention));
    }

    fn log(&self) -> Arc<MemoryLog> {
        self.log.lock().clone()
    }

    fn count_read(&self) -> Result<(), LogError> {
        if take_one(&self.reads_left) { Ok(()) } else { Err(LogError::Unavailable(Box::new(Arranged))) }
    }
}

/// Takes one off what is left, unless nothing is.
fn take_one(left: &AtomicUsize) -> bool {
    let one_less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
}

#[async_trait]
impl MessageLog for TroubledLog {
    async fn append(&self, append: Append) -> Result<Appended, LogError> {
        if *self.0.log_full.lock() {
            return Err(LogError::Full(Box::new(Arranged)));
        }
        self.0.log().append(append).await
    }

    async fn read(&self, channel: &Channel, range: Range, limit: usize, max_bytes: usize) -> Result<Slice, LogError> {
        self.0.count_read()?;
        self.0.log().read(channel, range, limit, max_bytes).await
    }

    async fn heads(&self, channels: &[Channel]) -> Result<Vec<Position>, LogError> {
        self.0.count_read()?;
        self.0.log().heads(channels).await
    }
}

#[async_trait]
impl Delivery for TroubledDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) -> Result<Delivered, DeliveryError> {
        if matches!(audience, Audience::Connection(_)) {
            self.trouble.clock.advance(*self.trouble.slowness.lock());
            if !take_one(&self.trouble.frames_left) {
                return Ok(Delivered::Gone);
            }
        } else if *self.trouble.delivery_away.lock() {
            return Err(DeliveryError::Unavailable(Box::new(Arranged)));
        }
        self.inner.deliver(audience, outgoing).await
    }

    async fn hold(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        self.inner.hold(connection, channels).await
    }

    async fn release(
        &self,
        connection: &ConnectionId,
        channel: &Channel,
        through: &Position,
    ) -> Result<Released, DeliveryError> {
        self.trouble.releases.fetch_add(1, Ordering::SeqCst);
        let said = self.trouble.before_release.lock().pop();
        if let Some(append) = said {
            let appended = self.trouble.log().append(append.clone()).await.unwrap();
            let frame = MessageFrame::appended(&append, &appended).encode();
            let placement = Some(Placement { channel: append.channel.clone(), position: appended.position });
            let outgoing = Outgoing { frame, priority: Priority::Direct, placement };
            self.inner.deliver(&Audience::Channel(append.channel), outgoing).await?;
        }
        self.inner.release(connection, channel, through).await
    }

    async fn detach(&self, connection: &ConnectionId, channels: &[Channel]) -> Result<Delivered, DeliveryError> {
        self.inner.detach(connection, channels).await
    }

    async fn close(&self, connection: &ConnectionId, reason: CloseReason) -> Result<Delivered, DeliveryError> {
        self.inner.close(connection, reason).await
    }
}
