//! Three pods on a Redis Cluster and on Redis with Sentinels: messages sent on one pod reach the clients of the
//! others, also after the loss of a node, after failovers and after moves of slots.
//!
//! The client checks every frame on arrival: a duplicate or out-of-order message fails the test, and so does an epoch
//! that changes without a `gap`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Client, fresh_id, type_of};
use tests::eventually;
use tests::redis::{ClusterFailover, RedisCluster, RedisSentinels};
use tests::server::{SECRET, STAGE, TwinwayServer};
use tests::world::{TokenClaims, sign_token};
use tokio::time::sleep;

/// Interval between repeats of a message that was rejected as `unavailable`.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Rooms whose keys are distributed over all three masters of a Cluster.
const ROOMS: [&str; 6] = ["room:a", "room:b", "room:c", "room:d", "room:e", "room:f"];

struct Pods {
    pods: Vec<TwinwayServer>,
}

impl Pods {
    /// Starts pods whose appends wait for this number of replicas.
    async fn start(urls: &[String], topology: &str, wait_replicas: u32) -> Self {
        let mut pods = Vec::new();
        for _ in 0..3 {
            let launch = TwinwayServer::launch()
                .with_env("DEPLOYMENT_MODE", "kubernetes")
                .with_env("REDIS_URL", urls.join(","))
                .with_env("TWINWAY_REDIS_TOPOLOGY", topology)
                .with_env("TWINWAY_REDIS_WAIT_REPLICAS", wait_replicas)
                .with_env("TWINWAY_DRAIN_DELAY", "0s");
            pods.push(launch.start().await);
        }
        Self { pods }
    }

    /// Connects a client to a pod and joins all rooms.
    async fn connect(&self, pod: usize, name: &str) -> Client {
        let url = format!("ws://{}/{STAGE}", self.pods[pod].traffic);
        let mut client =
            Client::dial(&url, name).with_token(&sign_token(SECRET, &TokenClaims::user(name))).open_and_confirm().await;
        client.join_channels("join", &ROOMS).await;
        client
    }

    async fn wait_ready(&self) {
        for pod in &self.pods {
            eventually!("a pod to be ready", (pod.ops_client().get("/ready").await.status == 200).then_some(()));
        }
    }
}

/// Sends a message until it is acknowledged; returns the number of `unavailable` errors.
async fn send_until_acknowledged(client: &mut Client, room: &str, body: &str) -> usize {
    let frame = json!({"action": "send", "to": room, "id": fresh_id(), "body": body});
    let mut rejected = 0;
    eventually!("a message to be acknowledged", {
        let reply = client.request(frame.clone()).await;
        if type_of(&reply) == "error" {
            assert_eq!(reply["code"], "unavailable", "{reply}");
            rejected += 1;
            sleep(RETRY_INTERVAL).await;
        }
        (type_of(&reply) == "ack").then_some(())
    });
    rejected
}

/// Sends a message to every room and checks that all other clients receive it.
async fn check_broadcast(alice: &mut Client, others: &mut [&mut Client], body: &str) {
    for room in ROOMS {
        alice.send_to_channel(room, body).await;
    }
    for other in others {
        for room in ROOMS {
            wait_for_message(other, room, body).await;
        }
    }
}

/// Waits for a message.
async fn wait_for_message(client: &mut Client, room: &str, body: &str) {
    let wanted = |frame: &Value| frame["channel"] == room && frame["body"] == body;
    client.next_where(&format!("{body} in {room}"), wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_pods_on_a_cluster_exchange_messages_and_a_client_resumes_on_another_pod() {
    let mut cluster = RedisCluster::start().unwrap();
    let pods = Pods::start(&cluster.urls(), "cluster", 0).await;
    let (mut alice, mut bob) = (pods.connect(0, "alice").await, pods.connect(1, "bob").await);
    let mut carol = pods.connect(2, "carol").await;
    check_broadcast(&mut alice, &mut [&mut bob, &mut carol], "first").await;

    let seen = carol.drop_abruptly();
    for room in ROOMS {
        alice.send_to_channel(room, "during absence").await;
        assert_eq!(bob.bodies(room, 1).await, ["during absence"]);
    }
    let url = pods.pods[1].socket_url();
    let dial = Client::dial(&url, "carol").with_token(&sign_token(SECRET, &TokenClaims::user("carol")));
    let mut carol = dial.with_received_state(seen).open().await;
    carol.resume(&ROOMS).await;
    for room in ROOMS {
        assert_eq!(carol.bodies(room, 1).await, ["during absence"], "in {room}");
    }

    // A node restarts with its data: a third of the Redis channels has no subscription in between.
    tokio::task::block_in_place(|| cluster.nodes_mut()[1].restart()).unwrap();
    pods.wait_ready().await;
    for room in ROOMS {
        send_until_acknowledged(&mut alice, room, "after").await;
    }
    for client in [&mut bob, &mut carol] {
        for room in ROOMS {
            wait_for_message(client, room, "after").await;
        }
    }
    check_broadcast(&mut alice, &mut [&mut bob, &mut carol], "last").await;
}

#[tokio::test]
async fn three_pods_with_sentinels_survive_a_failover() {
    let mut sentinels = RedisSentinels::start().unwrap();
    let pods = Pods::start(&sentinels.urls(), "sentinel", 0).await;
    let (mut alice, mut bob) = (pods.connect(0, "alice").await, pods.connect(1, "bob").await);
    let mut carol = pods.connect(2, "carol").await;
    check_broadcast(&mut alice, &mut [&mut bob, &mut carol], "first").await;

    let failing_over = tokio::task::spawn_blocking(move || {
        sentinels.fail_over().unwrap();
        sentinels
    });
    // The old master's last acknowledged messages may be lost; a message rejected once is stored by the new master.
    let (mut number, mut kept) = (0, Vec::new());
    while kept.is_empty() || !failing_over.is_finished() {
        number += 1;
        let body = format!("m{number}");
        if send_until_acknowledged(&mut alice, ROOMS[0], &body).await > 0 || !kept.is_empty() {
            kept.push(body);
        }
        sleep(RETRY_INTERVAL).await;
    }
    let _sentinels = failing_over.await.unwrap();
    pods.wait_ready().await;
    for client in [&mut bob, &mut carol] {
        let gap = client.next_where("a gap after the failover", |frame| type_of(frame) == "gap").await;
        assert_eq!(gap["reason"], "epoch", "a promoted master may lack messages, so the epoch changes");
        for body in &kept {
            wait_for_message(client, ROOMS[0], body).await;
        }
    }
    check_broadcast(&mut alice, &mut [&mut bob, &mut carol], "last").await;
}

/// Sends ephemeral messages, which no log has, to every room until every other client has received one in each room
/// after the call.
async fn check_live_frames(alice: &mut Client, others: &mut [&mut Client], marker: &str) {
    for room in ROOMS {
        for other in &mut *others {
            let mut number = 0;
            eventually!("a live frame", {
                number += 1;
                let body = format!("{marker} {number} {}", fresh_id());
                let frame = json!({"action": "send", "to": room, "body": body, "ephemeral": true});
                alice.request(frame).await;
                let arrived = tokio::time::timeout(RETRY_INTERVAL, wait_for_message(other, room, &body)).await;
                arrived.is_ok().then_some(())
            });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_frames_continue_after_slots_and_masters_of_a_cluster_moved() {
    let mut cluster = RedisCluster::start_with_replicas().unwrap();
    let pods = Pods::start(&cluster.urls(), "cluster", 1).await;
    let (mut alice, mut bob) = (pods.connect(0, "alice").await, pods.connect(1, "bob").await);
    let mut carol = pods.connect(2, "carol").await;
    check_live_frames(&mut alice, &mut [&mut bob, &mut carol], "first").await;

    // Every subscribed slot moves to a new master, and back to one of the old ones.
    let added = tokio::task::block_in_place(|| cluster.add_node()).unwrap();
    for target in [added, 0] {
        let channels = tokio::task::block_in_place(|| cluster.shard_channels()).unwrap();
        for channel in channels.iter().filter(|channel| cluster.master_of(channel).unwrap() != target) {
            tokio::task::block_in_place(|| cluster.move_slot_of(channel, target)).unwrap();
        }
        check_live_frames(&mut alice, &mut [&mut bob, &mut carol], "moved").await;
    }
    for failover in [ClusterFailover::Coordinated, ClusterFailover::Takeover] {
        let replica = if failover == ClusterFailover::Coordinated { 3 } else { 0 };
        tokio::task::block_in_place(|| cluster.wait_replicas()).unwrap();
        tokio::task::block_in_place(|| cluster.promote(replica, failover)).unwrap();
        check_live_frames(&mut alice, &mut [&mut bob, &mut carol], "promoted").await;
    }
    for pod in &pods.pods {
        assert!(pod.metric("twinway_bus_revoked_subscriptions_total").await > Some(0.0));
        pod.wait_for_log("bus subscription revoked: its slot moved to another node of the cluster, reconnecting").await;
        assert_eq!(pod.metric("twinway_cluster_lost_leases_total").await, Some(0.0));
    }
    for client in [&mut alice, &mut bob, &mut carol] {
        client.ping(b"still open").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_failover_by_sentinels_loses_no_message_and_closes_no_connection() {
    let sentinels = RedisSentinels::start_with(1, 1).unwrap();
    let pods = Pods::start(&sentinels.urls(), "sentinel", 1).await;
    let (mut alice, mut bob) = (pods.connect(0, "alice").await, pods.connect(1, "bob").await);
    check_broadcast(&mut alice, &mut [&mut bob], "first").await;

    let failing_over = tokio::task::spawn_blocking(move || {
        let former = sentinels.master_port().unwrap();
        sentinels.begin_planned_failover().unwrap();
        sentinels.wait_demoted(former).unwrap();
        sentinels
    });
    let mut acknowledged = Vec::new();
    while !failing_over.is_finished() {
        let body = format!("m{}", acknowledged.len());
        send_until_acknowledged(&mut alice, ROOMS[0], &body).await;
        acknowledged.push(body);
        sleep(RETRY_INTERVAL).await;
    }
    let _sentinels = failing_over.await.unwrap();
    assert!(acknowledged.len() > 30, "only {} messages while the former master accepted writes", acknowledged.len());
    pods.wait_ready().await;
    let mut stored = Vec::new();
    let mut request = json!({"action": "history", "channel": ROOMS[0]});
    while stored.len() < acknowledged.len() + 1 {
        let page = alice.request(request.clone()).await;
        let messages = page["messages"].as_array().unwrap();
        assert!(!messages.is_empty(), "{} of {} messages are stored", stored.len(), acknowledged.len());
        request["before"] = messages[0]["offset"].clone();
        stored.extend(messages.iter().rev().map(|message| message["body"].as_str().unwrap().to_owned()));
    }
    stored.reverse();
    assert_eq!(stored[1..], acknowledged);
    check_broadcast(&mut alice, &mut [&mut bob], "last").await;
    for pod in &pods.pods {
        for name in ["twinway_cluster_lost_leases_total", "twinway_cluster_fenced_pods_total"] {
            assert_eq!(pod.metric(name).await, Some(0.0), "{name}");
        }
        assert_eq!(pod.metric("twinway_redis_master_changes_total").await, Some(1.0));
    }
}
