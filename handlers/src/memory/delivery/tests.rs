//! The contract suites, and the bound of an inbox.

use super::*;
use crate::conformance::delivery::{DeliveryFixture, TestReceivers, run_exactly_once_suite, run_suite};
use crate::memory::{ChannelRetention, ManualClock, MemoryConnections, MemoryLog};
use crate::ports::{Priority, Timestamp};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

struct InboxReceivers(Arc<MemoryDelivery>);

#[async_trait]
impl TestReceivers for InboxReceivers {
    async fn open_connection(&self, _: &ClientConnection) {}

    async fn received_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0.take_frames(id)
    }

    async fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.0.close_reason(id)
    }
}

async fn fresh() -> DeliveryFixture {
    let connections = Arc::new(MemoryConnections::new(Arc::new(ManualClock::new(NOW))));
    let delivery = Arc::new(MemoryDelivery::new(connections.clone()));
    let log = Arc::new(MemoryLog::new(Epoch("e1".into()), ChannelRetention { max_entries: 1_000, max_bytes: 1 << 20 }));
    DeliveryFixture {
        delivery: delivery.clone(),
        connections,
        log,
        receivers: Arc::new(InboxReceivers(delivery)),
        now: NOW,
    }
}

#[tokio::test]
async fn it_fulfils_the_contract() {
    run_suite(fresh).await;
    run_exactly_once_suite(fresh).await;
}

#[test]
fn an_inbox_keeps_the_newest_frames() {
    let mut inbox = FrameInbox::default();
    for number in 0..=MAX_INBOX_FRAMES {
        let frame = Bytes::from(number.to_string());
        inbox.push_frame(&OutgoingFrame { frame, priority: Priority::Direct, placement: None });
    }
    assert_eq!(inbox.frames.len(), MAX_INBOX_FRAMES);
    assert_eq!(inbox.frames.front().unwrap(), "1");
}
