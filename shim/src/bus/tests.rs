//! Two pods over a real Redis server: one delivers, the connections of the other receive.

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
async fn it_passes_the_delivery_contract_suite_for_connections_of_the_other_pod() {
    let server = RedisServer::start().await;
    conformance::delivery::run_suite(async || PodPair::start(&server).await.fixture()).await;
    conformance::delivery::run_exactly_once_suite(async || PodPair::start(&server).await.fixture()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_s_own_conversation_arrives_once() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let admin = pair.connect_remote("root", Role::Admin).await;
    let own = channel("conversation:root");
    pair.local.deliver(&Audience::Channel(own.clone()), plain("typing", Priority::Ephemeral)).await;
    pair.append_and_deliver(&own, 1).await;
    pair.flush().await;
    let received = drain_texts(&admin);
    assert_eq!(received.len(), 2, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_subscribes_only_to_groups_with_local_members() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let room = Group::Joined(channel("room:lobby"));
    let alice = pair.connect_remote("alice", Role::User).await;
    let lobby = [channel("room:lobby")];
    pair.remote.delivery.pause_channels(&id(&alice), &lobby).await.unwrap();
    assert_eq!(pair.subscriber_count(&room).await, 1);
    pair.remote.delivery.detach_channels(&id(&alice), &lobby).await.unwrap();
    eventually("no pod is subscribed", async || pair.subscriber_count(&room).await == 0).await;
    let subscriptions = || pair.remote.bus_metrics().subscriptions.get();
    eventually("user, role and tenant remain subscribed", async || subscriptions() == 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn management_requests_are_executed_by_the_owning_pod() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let alice = pair.connect_remote("alice", Role::User).await;
    let gateway = pair.local.bus.remote();
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
async fn a_node_without_a_lease_is_gone_and_an_unresponsive_one_unavailable() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let [dead, unresponsive] =
        [77, pods::UNRESPONSIVE_NODE].map(|node| gateway::id::GatewayId::for_connection(1, node));
    let name = |id: gateway::id::GatewayId| handlers::id::ConnectionId::parse(&id).unwrap();
    let delivery = &pair.local.delivery;
    assert_eq!(
        delivery.close_connection(&name(dead), CloseReason::Kicked).await.unwrap(),
        DeliveryOutcome::ConnectionGone
    );
    let result = delivery.deliver(&Audience::Connection(name(unresponsive)), direct("x")).await;
    assert!(matches!(result, Err(DeliveryError::Unavailable(_))), "{result:?}");
    assert_eq!(pair.local.bus_metrics().peer_request_timeouts.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_just_claimed_is_not_gone() {
    let server = RedisServer::start().await;
    let pair =
        PodPair::start_with(&server, |settings| settings.request_timeout = std::time::Duration::from_millis(200)).await;
    let name = handlers::id::ConnectionId::parse(&gateway::id::GatewayId::for_connection(1, pods::CLAIMED_LATER_NODE))
        .unwrap();
    let close = || pair.local.delivery.close_connection(&name, CloseReason::Kicked);
    assert_eq!(close().await.unwrap(), DeliveryOutcome::ConnectionGone);
    pair.local.later_node_claimed.store(true, std::sync::atomic::Ordering::SeqCst);
    let result = close().await;
    assert!(matches!(result, Err(DeliveryError::Unavailable(_))), "unresponsive, but not gone: {result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_during_an_outage_of_the_subscription_are_backfilled() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let (alice, own) = (pair.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    let mut received = Vec::new();
    for offset in 1..=5 {
        pair.append_and_deliver(&own, offset).await;
    }
    pair.flush().await;
    pair.kill_subscriptions().await;
    // No successor reveals the missing range.
    for offset in 6..=10 {
        pair.append_and_deliver(&own, offset).await;
    }
    eventually("all have arrived", async || {
        received.extend(pods::offsets(&alice));
        received.len() >= 10
    })
    .await;
    assert_eq!(received, (1..=10).collect::<Vec<u64>>());
    eventually("the connection was replaced", async || pair.remote.bus_metrics().subscriber_reconnects.get() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_loses_and_repeats_nothing() {
    let mut server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let (alice, own) = (pair.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    let mut next = 1;
    let mut received = Vec::new();
    for round in 0..3 {
        for _ in 0..50 {
            pair.append_and_deliver(&own, next).await;
            next += 1;
        }
        server.kill();
        for _ in 0..50 {
            pair.append_and_deliver(&own, next).await;
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
async fn during_a_redis_outage_local_delivery_continues_and_clients_are_notified() {
    let mut server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let alice = connect_on_node(&pair.local.hub, 1, pods::LOCAL_NODE, "alice", Role::User);
    server.kill();
    let mut frames = Vec::new();
    eventually("the client is notified", async || {
        frames.extend(drain_texts(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"began"}"#]);
    let own = channel("conversation:alice");
    within_timeout(pair.append_and_deliver(&own, 1)).await;
    assert_eq!(pods::offsets(&alice), [1], "delivery on this pod does not wait for Redis");
    let result = pair.local.delivery.deliver(&Audience::Channel(own.clone()), direct("x")).await;
    assert!(
        matches!(result, Err(DeliveryError::Unavailable(_))),
        "a frame that no log has is reported as undeliverable: {result:?}"
    );
    drain_texts(&alice);
    server.start_again().await;
    frames.clear();
    eventually("the client is notified", async || {
        frames.extend(drain_texts(&alice));
        !frames.is_empty()
    })
    .await;
    assert_eq!(frames, [r#"{"type":"degraded","state":"ended"}"#]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_dropped_by_a_full_publish_queue_are_backfilled() {
    let mut server = RedisServer::start().await;
    let pair = PodPair::start_with(&server, |settings| settings.max_queue_bytes = 1_000).await;
    let (alice, own) = (pair.connect_remote("alice", Role::User).await, channel("conversation:alice"));
    server.kill();
    for offset in 1..=100 {
        pair.append_and_deliver(&own, offset).await;
    }
    let typing = pair.local.delivery.deliver(&Audience::Channel(own), plain("typing", Priority::Ephemeral)).await;
    assert!(typing.is_ok(), "{typing:?}");
    let metrics = pair.local.bus_metrics();
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
async fn a_client_that_joins_on_a_pod_without_other_members_receives_no_old_messages() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    let lobby = channel("room:lobby");
    let group = Group::Joined(lobby.clone());
    let alice = pair.connect_remote("alice", Role::User).await;
    pair.join_remote(&alice, &lobby).await;
    pair.append_and_deliver(&lobby, 1).await;
    pair.flush().await;
    pair.remote.delivery.detach_channels(&id(&alice), std::slice::from_ref(&lobby)).await.unwrap();
    eventually("no pod is subscribed", async || pair.subscriber_count(&group).await == 0).await;
    for offset in 2..=4 {
        pair.append_and_deliver(&lobby, offset).await;
    }
    let bob = pair.connect_remote("bob", Role::User).await;
    assert_eq!(pair.join_remote(&bob, &lobby).await, ResumeOutcome::Live);
    pair.append_and_deliver(&lobby, 5).await;
    pair.flush().await;
    assert_eq!(pods::offsets(&bob), [5], "at once, without reading the log");
    assert_eq!(pods::offsets(&alice), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_overtook_another_is_delivered_after_it() {
    let server = RedisServer::start().await;
    let pair = PodPair::start(&server).await;
    // An admin reads all conversations and has no position in those without messages so far.
    let admin = pair.connect_remote("root", Role::Admin).await;
    let theirs = channel("conversation:alice");
    pair.append(&theirs, 1).await;
    pair.append(&theirs, 2).await;
    pair.deliver_placed(&theirs, 2).await;
    let mut received = Vec::new();
    eventually("both have arrived", async || {
        received.extend(pods::offsets(&admin));
        received.len() >= 2
    })
    .await;
    assert_eq!(received, [1, 2]);
    pair.deliver_placed(&theirs, 1).await;
    pair.append_and_deliver(&theirs, 3).await;
    pair.flush().await;
    assert_eq!(pods::offsets(&admin), [3], "the overtaken message was already delivered");
}

impl Pod {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) {
        self.delivery.deliver(audience, outgoing).await.expect("deliver");
    }
}
