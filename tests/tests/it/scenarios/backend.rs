//! Backends on the HTTP API: pushing to every audience, listing, closing connections, rejected calls.

use std::time::Duration;

use serde_json::{Value, json};
use tests::client::http::HttpCaller;
use tests::client::{Client, ObservedClose, type_of};
use tests::world::{TokenClaims, World, WorldClients};

/// Returns the ids of the listed connections.
async fn connections(backend: &HttpCaller, query: &str) -> Vec<String> {
    let listing = backend.get(&format!("/v1/connections{query}")).await.expect_ok();
    let listed = listing["connections"].as_array().unwrap();
    assert_eq!(listing["total"], listed.len());
    listed.iter().map(|entry| entry["connection"].as_str().unwrap().to_owned()).collect()
}

/// Returns the clients that received a push, recognized by its unique body. Waits for the expected ones, which may be
/// connected to another pod.
async fn recipients(body: &str, expected: &[&str], clients: &mut [(&'static str, &mut Client)]) -> Vec<&'static str> {
    let matches = |frame: &Value| type_of(frame) == "message" && frame["body"] == body;
    for (_, client) in clients.iter_mut().filter(|(name, _)| expected.contains(name)) {
        client.next_where(body, matches).await;
    }
    let mut reached = Vec::new();
    for (name, client) in clients {
        let more = client.drain_inbox().await.iter().filter(|frame| matches(frame)).count();
        match usize::from(expected.contains(name)) + more {
            0 => {}
            1 => reached.push(*name),
            more => panic!("{name} received {body} {more} times"),
        }
    }
    reached
}

pub async fn a_push_reaches_exactly_its_audience(world: &mut impl World) {
    let backend = world.backend();
    let mut alice = world.user("alice").await;
    let alices = connections(&backend, "?user=alice").await;
    let mut alice_too = world.user("alice").await;
    let mut bob = world.user("bob").await;
    let mut admin = world.admin("root").await;
    bob.join_channels("join", &["room:lobby"]).await;
    alice_too.join_channels("subscribe", &["topic:news"]).await;
    let mut clients = [("alice", &mut alice), ("alice too", &mut alice_too), ("bob", &mut bob), ("admin", &mut admin)];
    let cases: [(Value, &[&str], Value); 7] = [
        (json!({"user": "alice"}), &["alice", "alice too", "admin"], json!("conversation:alice")),
        (json!({"channel": "room:lobby"}), &["bob"], json!("room:lobby")),
        (json!({"channel": "topic:news"}), &["alice too"], json!("topic:news")),
        (json!("everyone"), &["alice", "alice too", "bob", "admin"], json!("everyone")),
        (json!({"role": "user"}), &["alice", "alice too", "bob"], Value::Null),
        (json!({"role": "admin"}), &["admin"], Value::Null),
        (json!({"connection": alices[0]}), &["alice"], Value::Null),
    ];
    for (audience, expected, channel) in cases {
        let body = format!("to {audience}");
        let accepted = backend.post("/v1/messages", &json!({"audience": audience, "body": body})).await.expect_ok();
        assert_eq!(accepted["channel"], channel, "{audience}");
        assert_eq!(accepted["offset"].is_u64(), !channel.is_null(), "only logged messages have an offset: {accepted}");
        assert_eq!(recipients(&body, expected, &mut clients).await, expected, "{audience}");
    }
    let typing = json!({"audience": {"channel": "room:lobby"}, "body": "typing", "ephemeral": true});
    assert!(backend.post("/v1/messages", &typing).await.expect_ok()["offset"].is_null());
    assert_eq!(recipients("typing", &["bob"], &mut clients).await, ["bob"]);
}

pub async fn an_idempotency_key_makes_a_repeated_push_one_message(world: &mut impl World) {
    let backend = world.backend();
    let mut alice = world.user("alice").await;
    let push = json!({"audience": {"user": "alice"}, "body": "invoice"});
    let first = backend.post_idempotent("/v1/messages", "invoice-17", &push).await.expect_ok();
    assert_eq!((&first["id"], &first["offset"]), (&json!("invoice-17"), &json!(1)));
    assert_eq!(backend.post_idempotent("/v1/messages", "invoice-17", &push).await.expect_ok(), first);
    let batch = json!({"messages": [
        {"audience": {"user": "alice"}, "body": "b0"}, {"audience": {"user": "alice"}, "body": "b1"}, {"audience": "everyone", "body": "b2"},
    ]});
    let sent = backend.post_idempotent("/v1/messages", "batch", &batch).await.expect_ok();
    let offsets: Vec<_> = sent["results"].as_array().unwrap().iter().map(|result| result["offset"].clone()).collect();
    assert_eq!(offsets, [2, 3, 1]);
    assert_eq!(backend.post_idempotent("/v1/messages", "batch", &batch).await.expect_ok(), sent);
    assert_eq!(alice.bodies("conversation:alice", 3).await, ["invoice", "b0", "b1"]);
    assert_eq!(alice.bodies("everyone", 1).await, ["b2"]);
    assert_eq!(alice.drain_inbox().await, [json!(null); 0], "a repeated push was delivered twice");
}

pub async fn a_backend_lists_connections_and_their_channels(world: &mut impl World) {
    let backend = world.backend();
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    alice.join_channels("join", &["room:a", "room:b"]).await;
    alice.join_channels("subscribe", &["topic:news"]).await;
    admin.join_channels("join", &["room:b"]).await;

    let of_alice = backend.get("/v1/connections?user=alice").await.expect_ok();
    let listed = &of_alice["connections"][0];
    assert_eq!((&of_alice["total"], &listed["user"], &listed["role"]), (&json!(1), &json!("alice"), &json!("user")));
    assert_eq!(listed["channels"], json!(["room:a", "room:b", "topic:news"]));
    assert!(listed["connectedAt"].is_i64() && listed["tokenExpiresAt"].is_i64(), "{listed}");
    for (query, count) in
        [("", 2), ("?role=admin", 1), ("?channel=room%3Ab", 2), ("?channel=topic%3Anews", 1), ("?user=bob", 0)]
    {
        assert_eq!(connections(&backend, query).await.len(), count, "{query}");
    }
    let first = backend.get("/v1/connections?limit=1").await.expect_ok();
    let next = first["next"].as_str().expect("there is a second page");
    let second = backend.get(&format!("/v1/connections?limit=1&after={}", next.replace('=', "%3D"))).await.expect_ok();
    assert_ne!(first["connections"][0]["connection"], second["connections"][0]["connection"]);
    assert_eq!(second["next"], Value::Null);

    let rooms = backend.get("/v1/rooms").await.expect_ok();
    assert_eq!(rooms["rooms"], json!([{"room": "a", "connections": 1}, {"room": "b", "connections": 2}]));
    assert_eq!(backend.get("/v1/rooms/b/members").await.expect_ok()["total"], 2);
    let status = backend.get("/v1/status").await.expect_ok();
    assert_eq!((&status["connections"], &status["occupiedChannels"]), (&json!(2), &json!(3)));
    assert_eq!(status["tenant"], "default");
}

pub async fn a_backend_closes_a_connection(world: &mut impl World) {
    let backend = world.backend();
    let mut alice = world.user("alice").await;
    let mut bob = world.user("bob").await;
    let id = connections(&backend, "?user=alice").await.remove(0);
    let path = format!("/v1/connections/{}", id.replace('=', "%3D"));
    assert_eq!(backend.delete(&path).await.status, 204);
    let chosen = ObservedClose { code: 4403, reason: "Disconnected by an operator".to_owned() };
    assert_eq!(alice.wait_closed().await, world.observed_close(chosen));
    tests::eventually!(
        "the connection record to be deleted",
        (backend.delete(&path).await.status == 404).then_some(())
    );
    backend.delete(&path).await.expect_problem(404);
    bob.send_to_channel("conversation:bob", "unharmed").await;
}

pub async fn a_revoked_user_is_rejected_until_the_revocation_is_withdrawn(world: &mut impl World) {
    let backend = world.backend();
    let (mut first, mut second) = (world.user("alice").await, world.user("alice").await);
    let age = Duration::from_secs(60);
    let revoked = backend.post("/v1/revocations", &json!({"user": "alice"})).await.expect_ok();
    assert_eq!(revoked["closed"], 2);
    let chosen = ObservedClose { code: 4403, reason: "Disconnected by an operator".to_owned() };
    for alice in [&mut first, &mut second] {
        assert_eq!(alice.wait_closed().await, world.observed_close(chosen.clone()));
    }
    assert_eq!(world.dial(&TokenClaims::user("alice").with_age(age)).expect_rejection().await.status, 401);
    let service = HttpCaller::with_base_url(&world.http_url())
        .with_token(world.token(&TokenClaims::service("alice").with_age(age)));
    service.get("/v1/status").await.expect_problem(401);
    world.restart().await;
    assert_eq!(
        world.dial(&TokenClaims::user("alice").with_age(age)).expect_rejection().await.status,
        401,
        "also after a restart"
    );
    let backend = world.backend();
    assert_eq!(backend.delete("/v1/revocations?user=alice").await.status, 204);
    world.user("alice").await.close().await;
}

pub async fn a_rejected_call_returns_a_problem_document(world: &mut impl World) {
    let backend = world.backend();
    let anonymous = HttpCaller::with_base_url(&world.http_url());
    let problem = anonymous.get("/v1/status").await;
    assert!(problem.header("www-authenticate").starts_with("Bearer "), "{problem:?}");
    assert_eq!(problem.expect_problem(401)["type"], "urn:twinway:problem:unauthorized");
    anonymous.clone().with_token("eyJ.not.good".to_owned()).get("/v1/status").await.expect_problem(401);
    let user = anonymous.with_token(world.token(&TokenClaims::user("alice")));
    user.get("/v1/status").await.expect_problem(403);
    backend.get("/v1/nothing").await.expect_problem(404);
    let wrong_method = backend.delete("/v1/messages").await;
    assert_eq!(wrong_method.header("allow"), "POST");
    wrong_method.expect_problem(405);

    let invalid = json!({"audience": {"planet": "earth"}, "bodi": 1, "ephemeral": "yes"});
    let problem = backend.post("/v1/messages", &invalid).await.expect_problem(422);
    let pointers: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].clone()).collect();
    assert_eq!(pointers, ["#/audience", "#/body", "#/ephemeral", "#/bodi"]);
    let json_type = [("content-type", "application/json")];
    let post = |headers: &'static [(&'static str, &'static str)], body: String| {
        let backend = backend.clone();
        async move { backend.call(http::Method::POST, "/v1/messages", headers, body.into()).await }
    };
    post(&[("content-type", "application/json")], "{".to_owned()).await.expect_problem(400);
    post(&[("content-type", "text/plain")], "{}".to_owned()).await.expect_problem(415);
    let huge = format!("{{\"body\":\"{}\"}}", "x".repeat(5 * 1024 * 1024));
    backend.call(http::Method::POST, "/v1/messages", &json_type, huge.into()).await.expect_problem(413);
    backend.get("/v1/connections?usr=alice").await.expect_problem(422);
}
