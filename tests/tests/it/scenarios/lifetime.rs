//! The life of a connection: pings, and a token that runs out.

use std::time::Duration;

use serde_json::json;
use tests::client::type_of;
use tests::eventually;
use tests::world::{Cast, Grant, World};

pub async fn pings_of_both_kinds_are_answered(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.ping(b"are you there").await;
    let pong = alice.request(json!({"action": "ping", "id": "p"})).await;
    assert_eq!((type_of(&pong), &pong["id"]), ("pong", &json!("p")));
    assert!(pong["serverTime"].is_i64());
}

pub async fn a_token_that_runs_out_ends_the_connection(world: &mut impl World) {
    let grant = Grant::user("alice").lasting(Duration::from_secs(2));
    let mut alice = world.dial(&grant).open().await;
    let mut bob = world.user("bob").await;
    assert_eq!(alice.say("conversation:alice", "in time").await["offset"], 1);
    let refused = eventually!("the token to run out", {
        let answer = alice.request(json!({"action": "ping"})).await;
        (type_of(&answer) == "error").then_some(answer)
    });
    assert_eq!(refused["code"], "token_expired");
    let ending = alice.closed().await;
    assert_eq!((ending.code, ending.reason.as_str()), (4401, "Token expired"));
    bob.say("conversation:bob", "unharmed").await;
}
