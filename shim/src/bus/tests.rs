//! Two pods over a real Redis server: what one delivers, the other's connections receive.

mod pods;
mod redis_server;

use handlers::audience::{Audience, Group};
use handlers::conformance;
use handlers::identity::Role;
use handlers::ports::{
    CloseReason, Delivery as _, DeliveryError, DeliveryOutcome, OutgoingFrame, Priority, ResumeOutcome,
};

use self::pods::{Pod, PodPair, eventually, within_timeout};
use self::redis_server::RedisServer;
use super::*;
use crate::hub::tests::{channel, connect_on_node, drain_texts, id};

fn plain(text: &'static str, priority: Priority) -> OutgoingFrame {
    OutgoingFrame { frame: text.into(), priority, placement: None }
}

fn direct(text: &'static str) -> OutgoingFrame {
    plain(text, Priority::Direct)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract_of_delivery_for_connections_of_the_other_pod() {
    let server = RedisServer::start().await;
    conformance::delivery::run_suite(async || PodPair::start(&server).await.fixture()).await;
    conformance::delivery::run_exactly_once_suite(async || PodPair::start(&server).await.fixture()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_s_own_conversation_arrives_once() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let admin = world.connect_remote("root", Role::Admin).await;
    let own = channel("conversation:root");
    world.local.deliver(&Audience::Channel(own.clone()), plain("typing", Priority::Ephemeral)).await;
    world.append_and_deliver(&own, 1).await;
    world.flush().await;
    let received = drain_texts(&admin);
    assert_eq!(received.len(), 2, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_listens_only_for_whom_it_has() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let room = Group::Joined(channel("room:lobby"));
    let alice = world.connect_remote("alice", Role::User).await;
    let lobby = [channel("room:lobby")];
    world.remote.delivery.pause_channels(&id(&alice), &lobby).await.unwrap();
    assert_eq!(world.subscriber_count(&room).await, 1);
    world.remote.delivery.detach_channels(&id(&alice), &lobby).await.unwrap();
    eventually("nobody listens any more", async || world.subscriber_count(&room).await == 0).await;
    let left = || world.remote.bus_metrics().subscriptions.get();
    eventually("user, role and tenant are left", async || left() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_managed_where_they_are() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let alice = world.connect_remote("alice", Role::User).await;
    let gateway = world.local.bus.remote();
    gateway.post_text(alice.id, "hi".into()).await.unwrap();
    assert_eq!(drain_texts(&alice), ["hi"]);
    let described = gateway.describe_connection(alice.id).await.unwrap();
    assert_eq!((described.source_ip.as_str(), described.connected_at), ("127.0.0.1", 0));
    gateway.delete_connection(alice.id).await.unwrap();
    assert!(alice.is_closing());
    let gone = gateway.describe_connection(alice.id).await.map(|_| ()).unwrap_err();
    assert_eq!(gone, gateway::management::ManagementError::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_lease_is_gone_and_a_silent_one_unavailable() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let [dead, silent] = [77, pods::UNRESPONSIVE_NODE].map(|node| gateway::id::GatewayId::for_connection(0, 1, node));
    let name = |id: gateway::id::GatewayId| handlers::id::ConnectionId::parse(&id).unwrap();
    let delivery = &world.local.delivery;
    assert_eq!(
        delivery.close_connection(&name(dead), CloseReason::Kicked).await.unwrap(),
        DeliveryOutcome::ConnectionGone
    );
    let answer = delivery.deliver(&Audience::Connection(name(silent)), direct("x")).await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "{answer:?}");
    assert_eq!(world.local.bus_metrics().peer_request_timeouts.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_just_claimed_is_not_gone() {
    let server = RedisServer::start().await;
    let world =
        PodPair::start_with(&server, |settings| settings.request_timeout = std::time::Duration::from_millis(200)).await;
    let name = handlers::id::ConnectionId::parse(&gateway::id::GatewayId::for_connection(0, 1, pods::LATER)).unwrap();
    let close = || world.local.delivery.close_connection(&name, CloseReason::Kicked);
    assert_eq!(close().await.unwrap(), DeliveryOutcome::ConnectionGone);
    world.local.later.store(true, std::sync::atomic::Ordering::SeqCst);
    let answer = close().await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "a silent pod, and not a missing one: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_while_the_subscription_was_away_is_filled() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let (alice, own) = (world.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    let mut received = Vec::new();
    for offset in 1..=5 {
        world.append_and_deliver(&own, offset).await;
    }
    world.flush().await;
    world.kill_subscriptions().await;
    // There is no successor that would show the hole.
    for offset in 6..=10 {
        world.append_and_deliver(&own, offset).await;
    }
    eventually("all have arrived", async || {
        received.extend(pods::offsets(&alice));
        received.len() >= 10
    })
    .await;
    assert_eq!(received, (1..=10).collect::<Vec<u64>>());
    eventually("the connection was replaced", async || world.remote.bus_metrics().subscriber_reconnects.get() > 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_loses_and_repeats_nothing() {
    let mut server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    let (alice, own) = (world.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    let mut next = 1;
    let mut received = Vec::new();
    for round in 0..3 {
        for _ in 0..50 {
            world.append_and_deliver(&own, next).await;
            next += 1;
        }
        server.kill();
        for _ in 0..50 {
            world.append_and_deliver(&own, next).await;
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
    let world = PodPair::start(&server).await;
    let alice = connect_on_node(&world.local.hub, 1, pods::LOCAL_NODE, "alice", Role::User);
    server.kill();
    let mut frames = Vec::new();
    eventually("the client is told", async || {
        frames.extend(drain_texts(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"began"}"#]);
    let own = channel("conversation:alice");
    within_timeout(world.append_and_deliver(&own, 1)).await;
    assert_eq!(pods::offsets(&alice), [1], "delivery on this pod does not wait for Redis");
    let answer = world.local.delivery.deliver(&Audience::Channel(own.clone()), direct("x")).await;
    assert!(matches!(answer, Err(DeliveryError::Unavailable(_))), "what is in no log is not promised: {answer:?}");
    drain_texts(&alice);
    server.start_again().await;
    frames.clear();
    eventually("the client is told", async || {
        frames.extend(drain_texts(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"ended"}"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_queue_s_bound_messages_come_from_the_log() {
    let mut server = RedisServer::start().await;
    let world = PodPair::start_with(&server, |settings| settings.max_queue_bytes = 1_000).await;
    let (alice, own) = (world.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    server.kill();
    for offset in 1..=100 {
        world.append_and_deliver(&own, offset).await;
    }
    let typing = world.local.delivery.deliver(&Audience::Channel(own), plain("typing", Priority::Ephemeral)).await;
    assert!(typing.is_ok(), "{typing:?}");
    let metrics = world.local.bus_metrics();
    assert!(
        metrics.dropped_recoverable_records.get() > 100 && metrics.dropped_unrecoverable_records.get() > 0,
        "{} {}",
        metrics.dropped_recoverable_records.get(),
        metrics.dropped_unrecoverable_records.get()
    );
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
    let world = PodPair::start(&server).await;
    let lobby = channel("room:lobby");
    let group = Group::Joined(lobby.clone());
    let alice = world.connect_remote("alice", Role::User).await;
    world.join_remote(&alice, &lobby).await;
    world.append_and_deliver(&lobby, 1).await;
    world.flush().await;
    world.remote.delivery.detach_channels(&id(&alice), std::slice::from_ref(&lobby)).await.unwrap();
    eventually("nobody listens any more", async || world.subscriber_count(&group).await == 0).await;
    for offset in 2..=4 {
        world.append_and_deliver(&lobby, offset).await;
    }
    let bob = world.connect_remote("bob", Role::User).await;
    assert_eq!(world.join_remote(&bob, &lobby).await, ResumeOutcome::Live);
    world.append_and_deliver(&lobby, 5).await;
    world.flush().await;
    assert_eq!(pods::offsets(&bob), [5], "at once, without a look at the log");
    assert_eq!(pods::offsets(&alice), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_overtook_another_is_not_the_first_to_arrive() {
    let server = RedisServer::start().await;
    let world = PodPair::start(&server).await;
    // An admin reads all conversations and names no position in those that it has not heard of.
    let admin = world.connect_remote("root", Role::Admin).await;
    let theirs = channel("conversation:alice");
    world.append(&theirs, 1).await;
    world.append(&theirs, 2).await;
    world.deliver_placed(&theirs, 2).await;
    let mut received = Vec::new();
    eventually("both have arrived", async || {
        received.extend(pods::offsets(&admin));
        received.len() >= 2
    })
    .await;
    assert_eq!(received, [1, 2]);
    world.deliver_placed(&theirs, 1).await;
    world.append_and_deliver(&theirs, 3).await;
    world.flush().await;
    assert_eq!(pods::offsets(&admin), [3], "the one that was overtaken has been sent already");
}

impl Pod {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) {
        self.delivery.deliver(audience, outgoing).await.expect("deliver");
    }
}
