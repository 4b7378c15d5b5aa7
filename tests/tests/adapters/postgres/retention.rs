//! Retention: surplus and old messages are deleted automatically, oldest first, without a change of offsets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use handlers::memory::ManualClock;
use handlers::ports::{AppendRequest, Clock as _, MessageLog as _};
use shim::postgres::{PostgresClient, PostgresLog, PostgresRetention};
use tests::eventually;
use tests::postgres::PostgresServer;

use super::{clock, connect, message, offsets, settings};

struct World {
    _server: PostgresServer,
    client: PostgresClient,
    clock: Arc<ManualClock>,
    log: PostgresLog,
}

async fn world(entries: u64) -> World {
    let server = PostgresServer::start().unwrap();
    let client = connect(&settings(&server.url())).await;
    let clock = clock();
    let retention = PostgresRetention { max_messages: entries, max_age: Duration::from_secs(100) };
    let log = PostgresLog::open_log(client.clone(), clock.clone(), retention);
    World { _server: server, client, clock, log }
}

impl World {
    async fn append(&self, numbers: std::ops::RangeInclusive<u64>) {
        let at = self.clock.now();
        let append = |number| self.log.append(AppendRequest { sent_at: at, ..message(&format!("m{number}")) });
        stream::iter(numbers.map(append)).buffer_unordered(16).for_each(async |appended| drop(appended.unwrap())).await;
    }
}

#[tokio::test]
async fn the_oldest_messages_are_deleted_first_with_their_ids() {
    let world = world(10).await;
    for number in 1..=25 {
        world.append(number..=number).await;
    }
    let kept: Vec<u64> = (16..=25).collect();
    eventually!("ten messages to remain", (offsets(&world.log).await == (16, kept.clone())).then_some(()));
    assert!(
        world.log.append(message("m16")).await.unwrap().duplicate,
        "the id of the oldest retained message is known"
    );
    assert!(!world.log.append(message("m1")).await.unwrap().duplicate, "the id of a deleted message is unknown");
    assert_eq!(world.client.metrics().expired_messages.get(), 15);
}

#[tokio::test]
async fn old_messages_are_deleted_and_offsets_continue() {
    let world = world(1_000).await;
    world.append(1..=20).await;
    world.clock.advance(Duration::from_secs(60));
    world.append(21..=30).await;
    world.clock.advance(Duration::from_secs(60));
    eventually!(
        "the first twenty to be deleted",
        (offsets(&world.log).await == (21, (21..=30).collect())).then_some(())
    );
    world.clock.advance(Duration::from_secs(60));
    eventually!("all to be deleted", (offsets(&world.log).await == (31, vec![])).then_some(()));
    world.append(31..=31).await;
    assert_eq!(offsets(&world.log).await, (31, vec![31]));
}

#[tokio::test]
async fn a_backlog_is_deleted_in_steps_during_appends() {
    let world = world(5).await;
    world.append(1..=2_500).await;
    eventually!(
        "five messages to remain",
        (offsets(&world.log).await == (2_496, (2_496..=2_500).collect())).then_some(())
    );
    world.append(2_501..=2_502).await;
    eventually!(
        "five messages to remain",
        (offsets(&world.log).await == (2_498, (2_498..=2_502).collect())).then_some(())
    );
}
