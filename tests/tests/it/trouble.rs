//! What a pod says when Redis stops to serve it while it runs: what is wrong and what helps, a bounded number of lines of it.

use serde_json::{Value, json};
use tests::client::{Client, type_of};
use tests::eventually;
use tests::pod_cluster::{durable_redis, launch_pod};
use tests::redis::{RedisOptions, RedisServer};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// Most lines with the same text in one outage: a burst and what is left out of it, twice.
const EQUAL_LINES: usize = 25;

async fn person(server: &TwinwayServer, name: &str) -> Client {
    Client::dial(&server.socket_url(), name)
        .with_token(&sign_token(SECRET, &TokenClaims::user(name)))
        .open_and_confirm()
        .await
}

async fn until_ready(server: &TwinwayServer, status: u16) {
    eventually!(&format!("/ready to be {status}"), {
        (server.ops_client().get("/ready").await.status == status).then_some(())
    });
}

#[tokio::test]
async fn a_password_that_is_changed_later_is_told_with_what_helps() {
    let rules = "alice on >hidden-1 ~* &* +@all";
    let redis = RedisServer::start_with(RedisOptions::default().with_setting("user", rules)).unwrap();
    let mut server = launch_pod(&redis.url().replace("://", "://alice:hidden-1@")).start().await;
    let mut alice = person(&server, "alice").await;
    redis.run_command(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-2"]).unwrap();
    redis.run_command(&["CLIENT", "KILL", "USER", "alice"]).unwrap();
    until_ready(&server, 503).await;
    let line = server.wait_for_log("redis cannot be used").await;
    let told = line["error"].as_str().unwrap();
    assert!(told.contains("redis.password"), "{line}");
    assert_eq!(alice.expect_error(json!({"action": "send", "body": 1})).await, "unavailable");
    redis.run_command(&["ACL", "SETUSER", "alice", "resetpass", ">hidden-1"]).unwrap();
    until_ready(&server, 200).await;
    alice.send_to_channel("conversation:alice", "as before").await;
    alice.close().await;
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("hidden"), "a password stands in the log");
}

/// Sends until it is answered so; the bodies that were acknowledged meanwhile.
async fn send_until(client: &mut Client, code: &str) -> Vec<Value> {
    let mut acknowledged = Vec::new();
    eventually!(&format!("a send to be answered {code}"), {
        let body = tests::client::fresh_id();
        let answer = client.request(json!({"action": "send", "body": body})).await;
        if type_of(&answer) == "ack" {
            acknowledged.push(json!(body));
        }
        (answer["code"] == code).then_some(())
    });
    acknowledged
}

/// What the log has of the person's own conversation.
async fn kept(client: &mut Client, channel: &str) -> Vec<Value> {
    let page = client.request(json!({"action": "history", "channel": channel, "limit": 100})).await;
    page["messages"]
        .as_array()
        .unwrap_or_else(|| panic!("{page}"))
        .iter()
        .map(|message| message["body"].clone())
        .collect()
}

#[tokio::test]
async fn a_redis_that_refuses_writes_takes_the_pod_out_and_back_in() {
    let options = RedisOptions { append_only: true, fills_disk: true, ..RedisOptions::default() };
    let redis = RedisServer::start_with(options).unwrap();
    let mut server = launch_pod(&redis.url()).start().await;
    let mut alice = person(&server, "alice").await;
    let mut acknowledged = Vec::new();
    for refuses in ["no snapshot", "no append", "no replicas"] {
        alice.send_to_channel("conversation:alice", refuses).await;
        acknowledged.push(json!(refuses));
        match refuses {
            "no snapshot" => redis.fail_to_save().unwrap(),
            "no append" => redis.fill_disk().unwrap(),
            _ => drop(redis.run_command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap()),
        }
        acknowledged.extend(send_until(&mut alice, "unavailable").await);
        until_ready(&server, 503).await;
        let away = server.ops_client().get("/ready").await.json();
        assert_eq!(away["away"], json!(["redis"]), "{away}");
        for _ in 0..20 {
            assert_eq!(alice.expect_error(json!({"action": "send", "body": "lost"})).await, "unavailable");
        }
        let dial = Client::dial(&server.socket_url(), "bob").with_token(&sign_token(SECRET, &TokenClaims::user("bob")));
        assert_eq!(dial.expect_rejection().await.status, 502);
        match refuses {
            "no snapshot" => redis.save().unwrap(),
            "no append" => redis.free_disk().unwrap(),
            _ => drop(redis.run_command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap()),
        }
        until_ready(&server, 200).await;
        person(&server, "bob").await.close().await;
    }
    assert_eq!(kept(&mut alice, "conversation:alice").await, acknowledged, "what was acknowledged, and nothing else");
    alice.close().await;
    let exit = server.stop().await;
    for helps in ["run BGSAVE", "min-replicas-to-write"] {
        assert!(exit.stderr.contains(helps), "nobody is told what helps: {}", exit.stderr);
    }
}

#[tokio::test]
async fn a_full_redis_refuses_what_is_new_and_serves_who_is_there() {
    let redis = durable_redis().unwrap();
    let mut server = launch_pod(&redis.url()).start().await;
    let (mut alice, carol) = (person(&server, "alice").await, person(&server, "carol").await);
    alice.send_to_channel("conversation:alice", "before").await;
    redis.run_command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    assert_eq!(send_until(&mut alice, "log_full").await, [Value::Null; 0], "a full server took something");
    assert_eq!(alice.expect_error(json!({"action": "join", "channel": "room:lobby"})).await, "unavailable");
    assert_eq!(kept(&mut alice, "conversation:alice").await, ["before"]);
    let typing = alice.request(json!({"action": "send", "body": "typing", "ephemeral": true})).await;
    assert_eq!(type_of(&typing), "ack", "{typing}");
    let backend = server.http().with_token(sign_token(SECRET, &TokenClaims::service("billing")));
    backend.post("/v1/messages", &json!({"audience": {"user": "alice"}, "body": 1})).await.expect_problem(507);
    let dial = Client::dial(&server.socket_url(), "bob").with_token(&sign_token(SECRET, &TokenClaims::user("bob")));
    assert_eq!(dial.expect_rejection().await.status, 502);
    // Who leaves makes room.
    carol.close().await;
    server.wait_for_metric("twinway_session_open_connections", 1.0).await;
    eventually!("carol's record to be gone", {
        (redis.run_command(&["KEYS", "twinway:connection:{*}"]).unwrap().lines().count() == 1).then_some(())
    });
    let heartbeats = server.metric("twinway_cluster_missed_heartbeats_total").await;
    assert_eq!(
        (server.ops_client().get("/ready").await.status, heartbeats),
        (200, Some(0.0)),
        "it serves who is there"
    );
    redis.run_command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    alice.send_to_channel("conversation:alice", "after").await;
    assert_eq!(kept(&mut alice, "conversation:alice").await, ["before", "after"]);
    alice.close().await;
    let exit = server.stop().await;
    let lines = exit.warnings();
    let told: Vec<_> = lines.iter().filter(|(text, _)| text.contains("no memory left")).collect();
    assert!(matches!(told[..], [(text, 1..=EQUAL_LINES)] if text.contains("maxmemory")), "{lines:#?}");
}

#[tokio::test]
async fn an_outage_under_load_writes_few_lines() {
    let mut redis = durable_redis().unwrap();
    let mut server = launch_pod(&redis.url()).with_env("RUST_LOG", "info").start().await;
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
        let dial = Client::dial(&server.socket_url(), "bob")
            .with_token(&sign_token(SECRET, &TokenClaims::user(&format!("b{number}"))));
        assert_eq!(dial.expect_rejection().await.status, 502);
    }
    drop(people);
    server.wait_for_metric("twinway_session_open_connections", 0.0).await;
    redis.restart().unwrap();
    until_ready(&server, 200).await;
    server.wait_for_log("redis is back").await;
    let exit = server.stop().await;
    let lines = exit.warnings();
    assert!(lines.values().all(|count| *count <= EQUAL_LINES), "{lines:#?}");
    let all: usize = lines.values().sum();
    assert!(all <= 4 * EQUAL_LINES, "{lines:#?}");
    // Once for each kind of trouble: nobody is there, and perhaps somebody who still reads his files.
    assert!((1..=2).contains(&lines["redis cannot be used"]), "{lines:#?}");
}
