//! Lifetime of a connection: pings, and an expired token.

use std::time::Duration;

use serde_json::json;
use tests::client::{ObservedClose, type_of};
use tests::eventually;
use tests::world::{TokenClaims, World, WorldClients};

pub async fn pings_of_both_kinds_are_answered(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.ping(b"ping text").await;
    let pong = alice.request(json!({"action": "ping", "id": "p"})).await;
    assert_eq!((type_of(&pong), &pong["id"]), ("pong", &json!("p")));
    assert!(pong["serverTime"].is_i64());
}

/// A client that only listens sends nothing that would be rejected. On AWS nothing runs for it until a message is
/// delivered to it.
pub async fn an_expired_token_closes_the_connection(world: &mut impl World) {
    let claims = TokenClaims::user("alice").with_lifetime(Duration::from_secs(2));
    let mut alice = world.dial(&claims).open().await;
    let mut bob = world.user("bob").await;
    let backend = world.backend();
    let push = json!({"audience": {"user": "alice"}, "body": "tick"});
    eventually!("the token to expire and the connection to be closed", {
        backend.post("/v1/messages", &push).await.expect_ok();
        (backend.get("/v1/connections?user=alice").await.expect_ok()["total"] == 0).then_some(())
    });
    let chosen = ObservedClose { code: 4401, reason: "Token expired".to_owned() };
    assert_eq!(alice.wait_closed().await, world.observed_close(chosen));
    let before = alice.received_state().last("conversation:alice");
    let head = backend.post("/v1/messages", &push).await.expect_ok()["offset"].as_u64().expect("a logged message");
    assert!((1..head).contains(&before), "received {before} of {head} messages, the last ones after the expiry");
    bob.send_to_channel("conversation:bob", "unharmed").await;
}
