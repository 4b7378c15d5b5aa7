//! Guarantees of the message log: one message per id, and pages in both directions.

use serde_json::{Value, json};
use tests::client::type_of;
use tests::world::{World, WorldClients};

pub async fn the_same_id_is_one_message_with_one_ack(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    let send = json!({"action": "send", "id": "once", "body": "first"});
    let first = alice.request(send.clone()).await;
    alice.send_to_channel("conversation:alice", "between").await;
    // A repeat with another body changes nothing: the first body is kept.
    let repeat = alice.request(json!({"action": "send", "id": "once", "body": "changed"})).await;
    assert_eq!(first, repeat);
    // Ids belong to their sender: the same id from another sender is another message.
    let other =
        admin.request(json!({"action": "send", "to": "conversation:alice", "id": "once", "body": "third"})).await;
    assert_eq!(other["offset"], 3);

    world.restart().await;
    let mut alice = world.user("alice").await;
    assert_eq!(alice.request(send).await, first, "an id was lost by a restart");
    let history = alice.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    let bodies: Vec<_> = history["messages"].as_array().unwrap().iter().map(|entry| entry["body"].clone()).collect();
    assert_eq!(bodies, ["first", "between", "third"]);
}

pub async fn the_same_id_on_two_connections_concurrently_is_one_message(world: &mut impl World) {
    let mut phone = world.user("alice").await;
    let mut laptop = world.user("alice").await;
    for round in 1..=20 {
        let send = json!({"action": "send", "id": format!("round-{round}"), "body": round});
        let (first, second) = tokio::join!(phone.request(send.clone()), laptop.request(send.clone()));
        assert_eq!(first, second);
        assert_eq!(first["offset"], round);
    }
    // Each device received each message exactly once.
    let expected: Vec<Value> = (1..=20).map(Value::from).collect();
    for device in [&mut phone, &mut laptop] {
        assert_eq!(device.bodies("conversation:alice", 20).await, expected);
        assert_eq!(device.drain_inbox().await, [json!(null); 0]);
    }
}

pub async fn history_is_paged_backwards_by_clients_and_both_ways_by_backends(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    for number in 1..=25 {
        alice.send_to_channel("conversation:alice", number).await;
    }
    let offsets = |page: &Value| -> Vec<u64> {
        page["messages"].as_array().unwrap().iter().map(|entry| entry["offset"].as_u64().unwrap()).collect()
    };
    let (mut before, mut pages) = (Value::Null, Vec::new());
    loop {
        let request = json!({"action": "history", "channel": "conversation:alice", "limit": 10, "before": before});
        let page = alice.request(request).await;
        assert_eq!((type_of(&page), &page["first"], &page["head"]), ("history", &json!(1), &json!(25)));
        let more = page["more"] == true;
        before = page["messages"][0]["offset"].clone();
        pages.push(offsets(&page));
        if !more {
            break;
        }
    }
    assert_eq!(pages, [(16..=25).collect::<Vec<_>>(), (6..=15).collect(), (1..=5).collect()]);

    let backend = world.backend();
    let path = |query: &str| format!("/v1/channels/conversation%3Aalice/history?limit=10&{query}");
    let forward = backend.get(&path("after=20")).await.expect_ok();
    assert_eq!((offsets(&forward), &forward["more"]), ((21..=25).collect(), &json!(false)));
    let forward = backend.get(&path("after=0")).await.expect_ok();
    assert_eq!((offsets(&forward), &forward["more"]), ((1..=10).collect(), &json!(true)));
    let backward = backend.get(&path("before=6")).await.expect_ok();
    assert_eq!((offsets(&backward), &backward["more"]), ((1..=5).collect(), &json!(false)));
    assert_eq!(forward["messages"][0]["from"], json!({"user": "alice", "role": "user"}));
    let problem = backend.get(&path("after=1&before=2")).await.expect_problem(422);
    assert_eq!(problem["errors"][0]["parameter"], "after");
}

pub async fn an_acknowledged_message_survives_a_crash(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let acks = [
        alice.send_to_channel("conversation:alice", "one").await,
        alice.send_to_channel("conversation:alice", "two").await,
    ];
    let seen = alice.received_state().clone();
    world.crash().await;
    let mut alice = world.dial(&tests::world::TokenClaims::user("alice")).with_received_state(seen).open().await;
    let resumed = alice.resume(&["conversation:alice"]).await;
    assert_eq!(resumed["channels"]["conversation:alice"]["count"], 0);
    let history = alice.request(json!({"action": "history", "channel": "conversation:alice"})).await;
    for (entry, ack) in history["messages"].as_array().unwrap().iter().zip(&acks) {
        assert_eq!((&entry["offset"], &entry["id"]), (&ack["offset"], &ack["id"]));
    }
    assert_eq!((&history["head"], &history["epoch"]), (&json!(2), &acks[0]["epoch"]));
    assert_eq!(alice.send_to_channel("conversation:alice", "three").await["offset"], 3);
    alice.close().await;
}
