//! Messages in PostgreSQL: of one process, and of pods that share a Redis for everything else.

use serde_json::json;
use tests::client::{Client, Dial};
use tests::eventually;
use tests::postgres::PostgresServer;
use tests::redis::RedisServer;
use tests::server::{Launch, SECRET, Server};
use tests::world::{Grant, sign};

fn keeping_messages_in(launch: Launch, postgres: &PostgresServer) -> Launch {
    launch.with("TWINWAY_STORAGE_LOG", "postgres").with("DATABASE_URL", postgres.url())
}

fn pod(redis: &RedisServer, postgres: &PostgresServer) -> Launch {
    let pod = Server::launch().with("DEPLOYMENT_MODE", "kubernetes").with("REDIS_URL", redis.url());
    keeping_messages_in(pod, postgres).with("TWINWAY_DRAIN_DELAY", "0s")
}

fn dial(server: &Server, grant: &Grant) -> Dial {
    Client::dial(&server.socket_url(), &grant.user).bearing(&sign(SECRET, grant))
}

#[tokio::test]
async fn one_process_keeps_its_messages_there_through_a_crash() {
    let postgres = PostgresServer::start().unwrap();
    let launch = keeping_messages_in(Server::launch(), &postgres);
    let mut first = launch.clone().start().await;
    let mut alice = dial(&first, &Grant::user("alice")).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    alice.say("room:lobby", "before").await;
    let seen = alice.vanish();
    first.crash().await;
    let second = launch.start().await;
    let mut alice = dial(&second, &Grant::user("alice")).having(seen).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    assert_eq!(alice.say("room:lobby", "after").await["offset"], 2, "offsets go on");
    second.until_metric("twinway_message_log_appended_total", 1.0).await;
    alice.close().await;
}

#[tokio::test]
async fn a_process_says_what_is_wrong_with_its_database() {
    let postgres = PostgresServer::start().unwrap();
    let wrong = postgres.url().replace("pg-secret", "wr0ng");
    let exit = keeping_messages_in(Server::launch(), &postgres).with("DATABASE_URL", wrong).fail().await;
    assert_eq!(exit.code, Some(69), "{}", exit.stderr);
    assert!(exit.stderr.contains("refuses the password") && !exit.stderr.contains("wr0ng"), "{}", exit.stderr);
    let without = Server::launch().with("TWINWAY_STORAGE_LOG", "postgres").fail().await;
    assert_eq!(without.code, Some(64), "{}", without.stderr);
    assert!(without.stderr.contains("DATABASE_URL"), "{}", without.stderr);
}

#[tokio::test]
async fn pods_share_the_log_and_nothing_acknowledged_is_lost_when_it_is_killed() {
    let (redis, mut postgres) = (RedisServer::start().unwrap(), PostgresServer::start().unwrap());
    let (first, second) = (pod(&redis, &postgres).start().await, pod(&redis, &postgres).start().await);
    let mut alice = dial(&first, &Grant::user("alice")).arrive().await;
    let mut bob = dial(&second, &Grant::user("bob")).arrive().await;
    alice.enter("join", &["room:lobby"]).await;
    bob.enter("join", &["room:lobby"]).await;
    alice.say("room:lobby", "one").await;
    bob.say("room:lobby", "two").await;
    assert_eq!(bob.bodies("room:lobby", 1).await, ["one"]);

    postgres.kill();
    let frame = json!({"action": "send", "to": "room:lobby", "id": "three", "body": "three"});
    assert_eq!(alice.refused(frame.clone()).await, "unavailable");
    let body = eventually!("the pod not to be ready", {
        let reply = first.operator().get("/ready").await;
        (reply.status == 503).then(|| reply.json())
    });
    assert_eq!(body["away"], json!(["postgres"]));
    postgres.revive().unwrap();
    eventually!("the pod to be ready", (first.operator().get("/ready").await.status == 200).then_some(()));
    assert_eq!(alice.request(frame).await["offset"], 3, "the same again takes effect once");
    assert_eq!(bob.bodies("room:lobby", 2).await, ["two", "three"]);
    assert_eq!(redis.ask(&["KEYS", "twinway:log:*"]).unwrap(), "", "Redis keeps no messages");
    alice.close().await;
    bob.close().await;
}
