//! The life of a connection: pings, and a token that runs out.

use std::time::Duration;

use serde_json::json;
use tests::client::{ObservedClose, type_of};
use tests::eventually;
use tests::world::{TokenClaims, World, WorldClients};

pub async fn pings_of_both_kinds_are_answered(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.ping(b"are you there").await;
    let pong = alice.request(json!({"action": "ping", "id": "p"})).await;
    assert_eq!((type_of(&pong), &pong["id"]), ("pong", &json!("p")));
    assert!(pong["serverTime"].is_i64());
}

pub async fn a_token_that_runs_out_ends_the_connection(world: &mut impl World) {
    let grant = TokenClaims::user("alice").with_lifetime(Duration::from_secs(2));
    let mut alice = world.dial(&grant).open().await;
    let mut bob = world.user("bob").await;
    assert_eq!(alice.send_to_channel("conversation:alice", "in time").await["offset"], 1);
    // The last frame has no id: where the connection is closed through an API, that may overtake the frame's own answer, and
    // the error comes as a message before it.
    let refused = eventually!("the token to run out", {
        alice.send(&json!({"action": "ping"})).await;
        let answer = alice.next_where("a pong or an error", |frame| type_of(frame) != "message").await;
        (type_of(&answer) == "error").then_some(answer)
    });
    assert_eq!(refused["code"], "token_expired");
    let chosen = ObservedClose { code: 4401, reason: "Token expired".to_owned() };
    assert_eq!(alice.wait_closed().await, world.observed_close(chosen));
    bob.send_to_channel("conversation:bob", "unharmed").await;
}
