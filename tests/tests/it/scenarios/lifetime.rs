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

pub async fn an_expired_token_closes_the_connection(world: &mut impl World) {
    let claims = TokenClaims::user("alice").with_lifetime(Duration::from_secs(2));
    let mut alice = world.dial(&claims).open().await;
    let mut bob = world.user("bob").await;
    assert_eq!(alice.send_to_channel("conversation:alice", "in time").await["offset"], 1);
    // The last frame has no id: where an API closes the connection, the close may overtake the frame's reply, and the
    // error arrives as a message before it.
    let rejected = eventually!("the token to expire", {
        alice.send(&json!({"action": "ping"})).await;
        let reply = alice.next_where("a pong or an error", |frame| type_of(frame) != "message").await;
        (type_of(&reply) == "error").then_some(reply)
    });
    assert_eq!(rejected["code"], "token_expired");
    let chosen = ObservedClose { code: 4401, reason: "Token expired".to_owned() };
    assert_eq!(alice.wait_closed().await, world.observed_close(chosen));
    bob.send_to_channel("conversation:bob", "unharmed").await;
}
