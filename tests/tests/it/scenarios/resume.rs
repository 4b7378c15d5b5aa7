//! Coming back: what was missed arrives in order, then live, nothing twice; what cannot arrive is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::client::{Client, ReceivedState, type_of};
use tests::world::{TokenClaims, World, WorldClients};
use tokio::task::JoinSet;

/// How often the clients of a busy conversation go and come back.
const ROUNDS: usize = 25;

pub async fn both_come_back_and_have_missed_nothing(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    alice.send_to_channel("conversation:alice", "one").await;
    admin.bodies("conversation:alice", 1).await;
    let admin_seen = admin.drop_abruptly();
    alice.bodies("conversation:alice", 1).await;
    alice.send_to_channel("conversation:alice", "two").await;
    // Alice has not looked at her own second message yet, but it came before its ack, so she has seen it.
    let alice_seen = alice.close().await;

    world.restart().await;
    let mut carol = world.admin("carol").await;
    carol.send_to_channel("conversation:alice", "three").await;

    let mut alice = world.dial(&TokenClaims::user("alice")).with_received_state(alice_seen).open().await;
    let resumed = alice.resume(&["conversation:alice"]).await;
    assert_eq!(resumed["channels"]["conversation:alice"]["count"], 1);
    assert_eq!(alice.bodies("conversation:alice", 1).await, ["three"]);
    let mut admin = world.dial(&TokenClaims::admin("root")).with_received_state(admin_seen).open().await;
    let resumed = admin.resume(&["conversation:alice"]).await;
    let channel = &resumed["channels"]["conversation:alice"];
    assert_eq!((&channel["count"], &channel["offset"]), (&json!(2), &json!(3)));
    assert_eq!(admin.bodies("conversation:alice", 2).await, ["two", "three"]);

    // And then live.
    admin.send_to_channel("conversation:alice", "four").await;
    assert_eq!(alice.bodies("conversation:alice", 1).await, ["four"]);
    for client in [alice, admin, carol] {
        client.close().await;
    }
}

pub async fn welcome_says_who_one_is_and_where_ones_channels_stand(world: &mut impl World) {
    let mut alice = world.dial(&TokenClaims::user("alice").in_tenant("acme")).open().await;
    alice.send_to_channel("conversation:alice", "one").await;
    alice.send(&json!({"action": "resume", "id": "r"})).await;
    let welcome = alice.next_of_type("welcome").await;
    let said = ["user", "role", "tenant", "protocol"].map(|field| welcome[field].clone());
    assert_eq!(said, [json!("alice"), json!("user"), json!("acme"), json!(1)]);
    assert_eq!(welcome["channels"]["conversation:alice"]["offset"], 1);
    assert_eq!(welcome["channels"]["everyone"]["offset"], 0);
    let resumed = alice.reply_to("r").await;
    assert_eq!((type_of(&resumed), &resumed["channels"]), ("resumed", &json!({})));
}

/// The heart of the promise: a conversation and a room that never rest, and clients that come and go all the time.
pub async fn a_resume_within_live_traffic_misses_nothing_and_repeats_nothing(world: &mut impl World) {
    const CHANNELS: [&str; 2] = ["conversation:alice", "room:busy"];
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for (channel, mut writer) in [
        (CHANNELS[0], world.admin("root").await),
        (CHANNELS[1], world.admin("carol").await),
        (CHANNELS[0], world.user("alice").await),
    ] {
        let stop = stop.clone();
        writers.spawn(async move {
            let mut said = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                writer.send_to_channel(channel, said).await;
                said += 1;
            }
            writer.close().await;
            (channel, said)
        });
    }
    let mut readers = JoinSet::new();
    for user in ["alice", "alice"] {
        let dial = world.dial(&TokenClaims::user(user));
        readers.spawn(async move {
            let mut first = dial.clone().open().await;
            first.resume(&CHANNELS).await;
            let (mut seen, mut count) = (first.drop_abruptly(), 0);
            for _ in 0..ROUNDS {
                let mut client = dial.clone().with_received_state(seen).open().await;
                count += read_a_while(&mut client, &CHANNELS).await;
                client.received_state().assert_complete("alice");
                seen = client.drop_abruptly();
            }
            (seen, count)
        });
    }
    let readers = readers.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let mut said = [0_u64; 2];
    for (channel, count) in writers.join_all().await {
        said[usize::from(channel == CHANNELS[1])] += count;
    }
    for (seen, count) in readers {
        assert!(count > ROUNDS as u64, "the traffic was not live: {count} messages in {ROUNDS} rounds");
        catch_up_to_the_end(world, seen, CHANNELS, said).await;
    }
}

/// Resumes, and reads until some live messages have come behind the resume.
async fn read_a_while(client: &mut Client, channels: &[&str]) -> u64 {
    let resumed = client.resume(channels).await;
    let missed: u64 = channels.iter().map(|channel| resumed["channels"][channel]["count"].as_u64().unwrap()).sum();
    for _ in 0..missed + 3 {
        client.next_of_type("message").await;
    }
    missed + 3
}

async fn catch_up_to_the_end(world: &mut impl World, seen: ReceivedState, channels: [&str; 2], said: [u64; 2]) {
    let mut client = world.dial(&TokenClaims::user("alice")).with_received_state(seen).open().await;
    client.resume(&channels).await;
    for (channel, said) in channels.into_iter().zip(said) {
        assert_eq!(client.received_state().last(channel), said, "the end of {channel} is not what was acknowledged");
    }
    client.close().await;
}

pub async fn messages_that_retention_dropped_are_told_as_a_gap(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    alice.send_to_channel("conversation:alice", 1).await;
    let seen = alice.drop_abruptly();
    let mut admin = world.admin("root").await;
    for number in 2..=20 {
        admin.send_to_channel("conversation:alice", number).await;
    }
    world.keep_newest("conversation:alice", 5).await;
    let mut alice = world.dial(&TokenClaims::user("alice")).with_received_state(seen).open().await;
    let resumed = alice.resume(&["conversation:alice"]).await;
    let gap = alice.next_of_type("gap").await;
    let (from, to) = (gap["from"].as_u64().unwrap(), gap["to"].as_u64().unwrap());
    assert_eq!((from, &gap["reason"]), (2, &json!("trimmed")));
    let count = usize::try_from(20 - to).unwrap();
    assert_eq!(count, 5, "the retention of this world is five messages");
    assert_eq!(resumed["channels"]["conversation:alice"]["count"], count);
    let expected: Vec<Value> = (to + 1..=20).map(Value::from).collect();
    assert_eq!(alice.bodies("conversation:alice", count).await, expected);
    alice.close().await;
}

pub async fn a_position_of_another_epoch_is_told_as_a_gap(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    admin.send_to_channel("conversation:alice", "one").await;
    let mut elsewhere = ReceivedState::default();
    elsewhere.set_position("conversation:alice", "another-epoch", 7);
    let mut alice = world.dial(&TokenClaims::user("alice")).with_received_state(elsewhere).open().await;
    alice.resume(&["conversation:alice"]).await;
    assert_eq!(alice.next_of_type("gap").await["reason"], "epoch");
    assert_eq!(alice.bodies("conversation:alice", 1).await, ["one"]);
    alice.close().await;
}
