//! The contract, and the inbox's bound.

use super::*;
use crate::conformance::delivery::{Fixture, Receivers, all, exactly_once};
use crate::memory::{ManualClock, MemoryConnections, MemoryLog, Retention};
use crate::ports::{Priority, Timestamp};

const NOW: Timestamp = Timestamp(1_795_000_000_000);

struct Inboxes(Arc<MemoryDelivery>);

#[async_trait]
impl Receivers for Inboxes {
    async fn open(&self, _: &Connection) {}

    async fn received(&self, id: &ConnectionId) -> Vec<Bytes> {
        self.0.take(id)
    }

    async fn closed(&self, id: &ConnectionId) -> Option<CloseReason> {
        self.0.closed(id)
    }
}

async fn fresh() -> Fixture {
    let connections = Arc::new(MemoryConnections::new(Arc::new(ManualClock::new(NOW))));
    let delivery = Arc::new(MemoryDelivery::new(connections.clone()));
    let log = Arc::new(MemoryLog::new(Epoch("e1".into()), Retention { entries: 1_000, bytes: 1 << 20 }));
    Fixture { delivery: delivery.clone(), connections, log, receivers: Arc::new(Inboxes(delivery)), now: NOW }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    all(fresh).await;
    exactly_once(fresh).await;
}

#[test]
fn an_inbox_keeps_the_newest_frames() {
    let mut inbox = Inbox::default();
    for number in 0..=FRAMES {
        let frame = Bytes::from(number.to_string());
        inbox.pass(&Outgoing { frame, priority: Priority::Direct, placement: None });
    }
    assert_eq!(inbox.frames.len(), FRAMES);
    assert_eq!(inbox.frames.front().unwrap(), "1");
}
