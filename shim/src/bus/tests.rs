//! Two pods over a real Redis server: what one delivers, the other's connections receive.

mod pods;
mod redis_server;

use handlers::audience::{Audience, Group};
use handlers::conformance;
use handlers::identity::Role;
use handlers::ports::{CloseReason, Delivered, Delivery as _, DeliveryError, Outgoing, Priority, Released};

use self::pods::{Pod, World, eventually, in_time};
use self::redis_server::RedisServer;
use super::*;
use crate::hub::tests::{channel, connect_at, drained, id};

fn plain(text: &'static str, priority: Priority) -> Outgoing {
    Outgoing { frame: text.into(), priority, placement: None }
}

fn direct(text: &'static str) -> Outgoing {
    plain(text, Priority::Direct)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract_of_delivery_for_connections_of_the_other_pod() {
    let server = RedisServer::start().await;
    conformance::delivery::all(async || World::start(&server).await.fixture()).await;
    conformance::delivery::exactly_once(async || World::start(&server).await.fixture()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_s_own_conversation_arrives_once() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let admin = world.connect_there("root", Role::Admin).await;
    let own = channel("conversation:root");
    world.here.deliver(&Audience::Channel(own.clone()), plain("typing", Priority::Ephemeral)).await;
    world.say(&own, 1).await;
    world.flush().await;
    let received = drained(&admin);
    assert_eq!(received.len(), 2, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_listens_only_for_whom_it_has() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let room = Group::Joined(channel("room:lobby"));
    let alice = world.connect_there("alice", Role::User).await;
    let lobby = [channel("room:lobby")];
    world.there.delivery.hold(&id(&alice), &lobby).await.unwrap();
    assert_eq!(world.listeners(&room).await, 1);
    world.there.delivery.detach(&id(&alice), &lobby).await.unwrap();
    eventually("nobody listens any more", async || world.listeners(&room).await == 0).await;
    let left = || world.there.bus_metrics().subscriptions.get();
    eventually("user, role and tenant are left", async || left() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_managed_where_they_are() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let alice = world.connect_there("alice", Role::User).await;
    let gateway = world.here.bus.remote();
    gateway.post(alice.id, "hi".into()).await.unwrap();
    assert_eq!(drained(&alice), ["hi"]);
    let described = gateway.describe(alice.id).await.unwrap();
    assert_eq!((described.source_ip.as_str(), described.connected_at), ("127.0.0.1", 0));
    gateway.delete(alice.id).await.unwrap();
    assert!(alice.is_closing());
    let gone = gateway.describe(alice.id).await.map(|_| ()).unwrap_err();
    assert_eq!(gone, gateway::management::ManagementError::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_lease_is_gone_and_a_silent_one_unavailable() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let [dead, silent] = [77, pods::SILENT].map(|node| gateway::id::GatewayId::connection(0, 1, node));
    let name = |id: gateway::id::GatewayId| handlers::id::ConnectionId::parse(&id).unwrap();
    let delivery = &world.here.delivery;
    assert_eq!(delivery.close(&name(dead), CloseReason::Kicked).await.unwrap(), Delivered::Gone);
    let answer = delivery.deliver(&Audience::Connection(name(silent)), direct("x")).await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "{answer:?}");
    assert_eq!(world.here.bus_metrics().timeouts.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_just_claimed_is_not_gone() {
    let server = RedisServer::start().await;
    let world = World::start_with(&server, |settings| settings.request = std::time::Duration::from_millis(200)).await;
    let name = handlers::id::ConnectionId::parse(&gateway::id::GatewayId::connection(0, 1, pods::LATER)).unwrap();
    let close = || world.here.delivery.close(&name, CloseReason::Kicked);
    assert_eq!(close().await.unwrap(), Delivered::Gone);
    world.here.later.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = close().await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "a silent pod, and not a missing one: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_the_subscription_was_away_is_filled() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let (alice, own) = (world.connect_there("alice", Role::User).await, channel("conversation:alice"));
    let mut received = Vec::new();
    for offset in 1..=5 {
        world.say(&own, offset).await;
    }
    world.flush().await;
    world.cut_subscriptions().await;
    // There is no successor that would show the hole.
    for offset in 6..=10 {
        world.say(&own, offset).await;
    }
    eventually("all have arrived", async || {
        received.extend(pods::offsets(&alice));
        received.len() >= 10
    })
    .await;
    assert_eq!(received, (1..=10).collect::<Vec<u64>>());
    eventually("the connection was replaced", async || world.there.bus_metrics().reconnects.get() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_loses_and_repeats_nothing() {
    let mut server = RedisServer::start().await;
    let world = World::start(&server).await;
    let (alice, own) = (world.connect_there("alice", Role::User).await, channel("conversation:alice"));
    let mut next = 1;
    let mut received = Vec::new();
    for round in 0..3 {
        for _ in 0..50 {
            world.say(&own, next).await;
            next += 1;
        }
        server.kill();
        for _ in 0..50 {
            world.say(&own, next).await;
            next += 1;
        }
        server.start_again().await;
        eventually("all have arrived", async || {
            received.extend(pods::offsets(&alice));
            received.len() as u64 >= next - 1
        })
        .await;
        assert_eq!(received, (1..next).collect::<Vec<u64>>(), "after restart {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_this_pod_goes_on_and_clients_are_told() {
    let mut server = RedisServer::start().await;
    let world = World::start(&server).await;
    let alice = connect_at(&world.here.hub, 1, pods::HERE, "alice", Role::User);
    server.kill();
    let mut frames = Vec::new();
    eventually("the client is told", async || {
        frames.extend(drained(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"began"}"#]);
    let own = channel("conversation:alice");
    in_time(world.say(&own, 1)).await;
    assert_eq!(pods::offsets(&alice), [1], "delivery on this pod does not wait for Redis");
    let answer = world.here.delivery.deliver(&Audience::Channel(own.clone()), direct("x")).await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "what is in no log is not promised: {answer:?}");
    drained(&alice);
    server.start_again().await;
    frames.clear();
    eventually("the client is told", async || {
        frames.extend(drained(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"ended"}"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_queue_s_bound_messages_come_from_the_log() {
    let mut server = RedisServer::start().await;
    let world = World::start_with(&server, |settings| settings.queue_bytes = 1_000).await;
    let (alice, own) = (world.connect_there("alice", Role::User).await, channel("conversation:alice"));
    server.kill();
    for offset in 1..=100 {
        world.say(&own, offset).await;
    }
    let typing = world.here.delivery.deliver(&Audience::Channel(own), plain("typing", Priority::Ephemeral)).await;
    assert!(typing.is_ok(), "{typing:?}");
    let metrics = world.here.bus_metrics();
    assert!(metrics.dropped.get() > 100 && metrics.shed.get() > 0, "{} {}", metrics.dropped.get(), metrics.shed.get());
    server.start_again().await;
    let mut received = Vec::new();
    eventually("all have arrived", async || {
        received.extend(pods::offsets(&alice));
        received.len() >= 100
    })
    .await;
    assert_eq!(received, (1..=100).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_a_pod_that_was_out_of_a_room_gets_nothing_old() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    let lobby = channel("room:lobby");
    let group = Group::Joined(lobby.clone());
    let alice = world.connect_there("alice", Role::User).await;
    world.join_there(&alice, &lobby).await;
    world.say(&lobby, 1).await;
    world.flush().await;
    world.there.delivery.detach(&id(&alice), std::slice::from_ref(&lobby)).await.unwrap();
    eventually("nobody listens any more", async || world.listeners(&group).await == 0).await;
    for offset in 2..=4 {
        world.say(&lobby, offset).await;
    }
    let bob = world.connect_there("bob", Role::User).await;
    assert_eq!(world.join_there(&bob, &lobby).await, Released::Live);
    world.say(&lobby, 5).await;
    world.flush().await;
    assert_eq!(pods::offsets(&bob), [5], "at once, without a look at the log");
    assert_eq!(pods::offsets(&alice), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_overtook_another_is_not_the_first_to_arrive() {
    let server = RedisServer::start().await;
    let world = World::start(&server).await;
    // An admin reads all conversations and names no position in those that it has not heard of.
    let admin = world.connect_there("root", Role::Admin).await;
    let theirs = channel("conversation:alice");
    world.append(&theirs, 1).await;
    world.append(&theirs, 2).await;
    world.pass_on(&theirs, 2).await;
    let mut received = Vec::new();
    eventually("both have arrived", async || {
        received.extend(pods::offsets(&admin));
        received.len() >= 2
    })
    .await;
    assert_eq!(received, [1, 2]);
    world.pass_on(&theirs, 1).await;
    world.say(&theirs, 3).await;
    world.flush().await;
    assert_eq!(pods::offsets(&admin), [3], "the one that was overtaken has been sent already");
}

impl Pod {
    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) {
        self.delivery.deliver(audience, outgoing).await.expect("deliver");
    }
}
