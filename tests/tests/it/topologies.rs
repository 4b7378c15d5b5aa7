//! Three pods on a Redis Cluster, and on servers behind Sentinels: what one pod is told the others' clients hear, also once a
//! node was lost and another master took over.
//!
//! The client checks every frame on its way in: a message that comes twice or out of order fails the test, and so does an
//! epoch that changes without a `gap`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::{Client, fresh_id, type_of};
use tests::eventually;
use tests::redis::{RedisCluster, RedisSentinels};
use tests::server::{SECRET, STAGE, TwinwayServer};
use tests::world::{TokenClaims, sign_token};
use tokio::time::sleep;

/// How long a sender waits before it repeats what was answered `unavailable`.
const AGAIN: Duration = Duration::from_millis(100);
/// Rooms whose keys are on all three masters of a Cluster.
const ROOMS: [&str; 6] = ["room:a", "room:b", "room:c", "room:d", "room:e", "room:f"];

struct Pods {
    pods: Vec<TwinwayServer>,
}

impl Pods {
    async fn start(urls: &[String], topology: &str) -> Self {
        let mut pods = Vec::new();
        for _ in 0..3 {
            let launch = TwinwayServer::launch()
                .with_env("DEPLOYMENT_MODE", "kubernetes")
                .with_env("REDIS_URL", urls.join(","))
                .with_env("TWINWAY_REDIS_TOPOLOGY", topology)
                .with_env("TWINWAY_DRAIN_DELAY", "0s");
            pods.push(launch.start().await);
        }
        Self { pods }
    }

    /// Somebody who is connected to a pod, and in all rooms.
    async fn person(&self, pod: usize, name: &str) -> Client {
        let url = format!("ws://{}/{STAGE}", self.pods[pod].traffic);
        let mut client =
            Client::dial(&url, name).with_token(&sign_token(SECRET, &TokenClaims::user(name))).open_and_confirm().await;
        client.join_channels("join", &ROOMS).await;
        client
    }

    async fn until_ready(&self) {
        for pod in &self.pods {
            eventually!("a pod to be ready", (pod.ops_client().get("/ready").await.status == 200).then_some(()));
        }
    }
}

/// Sends a message until it is acknowledged; how often it was answered `unavailable`.
async fn insist(client: &mut Client, room: &str, body: &str) -> usize {
    let frame = json!({"action": "send", "to": room, "id": fresh_id(), "body": body});
    let mut refused = 0;
    eventually!("a message to be acknowledged", {
        let answer = client.request(frame.clone()).await;
        if type_of(&answer) == "error" {
            assert_eq!(answer["code"], "unavailable", "{answer}");
            refused += 1;
            sleep(AGAIN).await;
        }
        (type_of(&answer) == "ack").then_some(())
    });
    refused
}

/// What one says in every room, the others hear.
async fn all_hear(alice: &mut Client, others: &mut [&mut Client], body: &str) {
    for room in ROOMS {
        alice.send_to_channel(room, body).await;
    }
    for other in others {
        for room in ROOMS {
            hears(other, room, body).await;
        }
    }
}

/// Waits until a message has come.
async fn hears(client: &mut Client, room: &str, body: &str) {
    let wanted = |frame: &Value| frame["channel"] == room && frame["body"] == body;
    client.next_where(&format!("{body} in {room}"), wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_pods_on_a_cluster_hear_each_other_and_a_client_resumes_elsewhere() {
    let mut cluster = RedisCluster::start().unwrap();
    let pods = Pods::start(&cluster.urls(), "cluster").await;
    let (mut alice, mut bob) = (pods.person(0, "alice").await, pods.person(1, "bob").await);
    let mut carol = pods.person(2, "carol").await;
    all_hear(&mut alice, &mut [&mut bob, &mut carol], "first").await;

    let seen = carol.drop_abruptly();
    for room in ROOMS {
        alice.send_to_channel(room, "meanwhile").await;
        assert_eq!(bob.bodies(room, 1).await, ["meanwhile"]);
    }
    let url = pods.pods[1].socket_url();
    let dial = Client::dial(&url, "carol").with_token(&sign_token(SECRET, &TokenClaims::user("carol")));
    let mut carol = dial.with_received_state(seen).open().await;
    carol.resume(&ROOMS).await;
    for room in ROOMS {
        assert_eq!(carol.bodies(room, 1).await, ["meanwhile"], "in {room}");
    }

    // A node is lost and comes back with its data: a third of the topics has no subscription meanwhile.
    tokio::task::block_in_place(|| cluster.nodes_mut()[1].restart()).unwrap();
    pods.until_ready().await;
    for room in ROOMS {
        insist(&mut alice, room, "behind").await;
    }
    for client in [&mut bob, &mut carol] {
        for room in ROOMS {
            hears(client, room, "behind").await;
        }
    }
    all_hear(&mut alice, &mut [&mut bob, &mut carol], "last").await;
}

#[tokio::test]
async fn three_pods_behind_sentinels_outlive_a_failover() {
    let mut sentinels = RedisSentinels::start().unwrap();
    let pods = Pods::start(&sentinels.urls(), "sentinel").await;
    let (mut alice, mut bob) = (pods.person(0, "alice").await, pods.person(1, "bob").await);
    let mut carol = pods.person(2, "carol").await;
    all_hear(&mut alice, &mut [&mut bob, &mut carol], "first").await;

    let failing_over = tokio::task::spawn_blocking(move || {
        sentinels.fail_over().unwrap();
        sentinels
    });
    // What the old master acknowledged last may go with it; what was refused once is the new one's.
    let (mut said, mut kept) = (0, Vec::new());
    while kept.is_empty() || !failing_over.is_finished() {
        said += 1;
        let body = format!("m{said}");
        if insist(&mut alice, ROOMS[0], &body).await > 0 || !kept.is_empty() {
            kept.push(body);
        }
        sleep(AGAIN).await;
    }
    let _sentinels = failing_over.await.unwrap();
    pods.until_ready().await;
    for client in [&mut bob, &mut carol] {
        let told = client.next_where("to be told of the new master", |frame| type_of(frame) == "gap").await;
        assert_eq!(told["reason"], "epoch", "a master that may lack messages is another epoch");
        for body in &kept {
            hears(client, ROOMS[0], body).await;
        }
    }
    all_hear(&mut alice, &mut [&mut bob, &mut carol], "last").await;
}
