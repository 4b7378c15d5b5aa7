//! What a pod says when Redis stops to serve it while it runs: what is wrong and what helps, a bounded number of lines of it.

use serde_json::json;
use tests::client::{Client, type_of};
use tests::eventually;
use tests::fleet::{durable_redis, pod};
use tests::redis::{RedisOptions, RedisServer};
use tests::server::{SECRET, Server};
use tests::world::{Grant, sign};

/// Most lines with the same text in one outage: a burst and what is left out of it, twice.
const EQUAL_LINES: usize = 25;

async fn person(server: &Server, name: &str) -> Client {
    Client::dial(&server.socket_url(), name).bearing(&sign(SECRET, &Grant::user(name))).arrive().await
}

async fn until_ready(server: &Server, status: u16) {
    eventually!(&format!("/ready to be {status}"), {
        (server.operator().get("/ready").await.status == status).then_some(())
    });
}

#[tokio::test]
async fn a_password_that_is_changed_later_is_told_with_what_helps() {
    let rules = "alice on >hidden-1 ~* &* +@all";
    let redis = RedisServer::with(RedisOptions::default().with("user", rules)).unwrap();
    let mut server = pod(&redis.url().replace("://", "://alice:hidden-1@")).start().await;
    let mut alice = person(&server, "alice").await;
    redis.ask(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-2"]).unwrap();
    redis.ask(&["CLIENT", "KILL", "USER", "alice"]).unwrap();
    until_ready(&server, 503).await;
    let line = server.logged("redis cannot be used").await;
    let told = line["error"].as_str().unwrap();
    assert!(told.contains("redis.password"), "{line}");
    assert_eq!(alice.refused(json!({"action": "send", "body": 1})).await, "unavailable");
    redis.ask(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-1"]).unwrap();
    until_ready(&server, 200).await;
    alice.say("conversation:alice", "as before").await;
    alice.close().await;
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("hidden"), "a password stands in the log");
}

#[tokio::test]
async fn an_outage_under_load_writes_few_lines() {
    let mut redis = durable_redis().unwrap();
    let mut server = pod(&redis.url()).with("RUST_LOG", "info").start().await;
    let mut people = Vec::new();
    for number in 0..20 {
        people.push(person(&server, &format!("p{number}")).await);
    }
    redis.kill();
    until_ready(&server, 503).await;
    for person in &mut people {
        for _ in 0..20 {
            let answer = person.request(json!({"action": "send", "body": 1})).await;
            assert_eq!((type_of(&answer), &answer["code"]), ("error", &json!("unavailable")));
        }
        // Typing goes to this pod's connections, and a look at who is there fails.
        person.request(json!({"action": "send", "body": 1, "ephemeral": true})).await;
        person.request(json!({"action": "presence"})).await;
    }
    // Handshakes and ends fail, too, each on its own.
    for number in 0..40 {
        let dial =
            Client::dial(&server.socket_url(), "bob").bearing(&sign(SECRET, &Grant::user(&format!("b{number}"))));
        assert_eq!(dial.refused().await.status, 502);
    }
    drop(people);
    server.until_metric("twinway_session_open", 0.0).await;
    redis.revive().unwrap();
    until_ready(&server, 200).await;
    server.logged("redis is back").await;
    let exit = server.stop().await;
    let lines = exit.warnings();
    assert!(lines.values().all(|count| *count <= EQUAL_LINES), "{lines:#?}");
    let all: usize = lines.values().sum();
    assert!(all <= 4 * EQUAL_LINES, "{lines:#?}");
    // Once for each kind of trouble: nobody is there, and perhaps somebody who still reads his files.
    assert!((1..=2).contains(&lines["redis cannot be used"]), "{lines:#?}");
}
