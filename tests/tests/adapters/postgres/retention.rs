//! What is too much or too old goes by itself, oldest first, without the offsets moving.

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
    link: PostgresClient,
    clock: Arc<ManualClock>,
    log: PostgresLog,
}

async fn world(entries: u64) -> World {
    let server = PostgresServer::start().unwrap();
    let link = connect(&settings(&server.url())).await;
    let clock = clock();
    let retention = PostgresRetention { max_messages: entries, max_age: Duration::from_secs(100) };
    let log = PostgresLog::open_log(link.clone(), clock.clone(), retention);
    World { _server: server, link, clock, log }
}

impl World {
    async fn append(&self, numbers: std::ops::RangeInclusive<u64>) {
        let at = self.clock.now();
        let append = |number| self.log.append(AppendRequest { sent_at: at, ..message(&format!("m{number}")) });
        stream::iter(numbers.map(append)).buffer_unordered(16).for_each(async |appended| drop(appended.unwrap())).await;
    }
}

#[tokio::test]
async fn the_oldest_go_first_with_their_ids() {
    let world = world(10).await;
    for number in 1..=25 {
        world.append(number..=number).await;
    }
    let kept: Vec<u64> = (16..=25).collect();
    eventually!("ten to be left", (offsets(&world.log).await == (16, kept.clone())).then_some(()));
    assert!(world.log.append(message("m16")).await.unwrap().duplicate, "the oldest kept one is known");
    assert!(!world.log.append(message("m1")).await.unwrap().duplicate, "a forgotten one is new");
    assert_eq!(world.link.metrics().expired_messages.get(), 15);
}

#[tokio::test]
async fn what_is_too_old_goes_and_offsets_go_on() {
    let world = world(1_000).await;
    world.append(1..=20).await;
    world.clock.advance(Duration::from_secs(60));
    world.append(21..=30).await;
    world.clock.advance(Duration::from_secs(60));
    eventually!("the first twenty to go", (offsets(&world.log).await == (21, (21..=30).collect())).then_some(()));
    world.clock.advance(Duration::from_secs(60));
    eventually!("all to go", (offsets(&world.log).await == (31, vec![])).then_some(()));
    world.append(31..=31).await;
    assert_eq!(offsets(&world.log).await, (31, vec![31]));
}

#[tokio::test]
async fn a_backlog_goes_in_steps_while_appends_go_on() {
    let world = world(5).await;
    world.append(1..=2_500).await;
    eventually!("five to be left", (offsets(&world.log).await == (2_496, (2_496..=2_500).collect())).then_some(()));
    world.append(2_501..=2_502).await;
    eventually!("five to be left", (offsets(&world.log).await == (2_498, (2_498..=2_502).collect())).then_some(()));
}
