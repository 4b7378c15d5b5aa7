//! Resuming: missed messages arrive in order, then live ones, none twice; lost messages are reported by a `gap`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tests::client::{Client, ReceivedState, type_of};
use tests::world::{TokenClaims, World, WorldClients};
use tokio::task::JoinSet;

/// Number of reconnects of each reader of a busy conversation.
const ROUNDS: usize = 25;

pub async fn reconnected_clients_resume_without_loss(world: &mut impl World) {
    let mut alice = world.user("alice").await;
    let mut admin = world.admin("root").await;
    alice.send_to_channel("conversation:alice", "one").await;
    admin.bodies("conversation:alice", 1).await;
    let admin_seen = admin.drop_abruptly();
    alice.bodies("conversation:alice", 1).await;
    alice.send_to_channel("conversation:alice", "two").await;
    // Alice has not read her own second message yet, but it arrived before its ack.
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

    // Then live messages.
    admin.send_to_channel("conversation:alice", "four").await;
    assert_eq!(alice.bodies("conversation:alice", 1).await, ["four"]);
    for client in [alice, admin, carol] {
        client.close().await;
    }
}

pub async fn welcome_contains_the_identity_and_the_channel_heads(world: &mut impl World) {
    let mut alice = world.dial(&TokenClaims::user("alice").in_tenant("acme")).open().await;
    alice.send_to_channel("conversation:alice", "one").await;
    alice.send(&json!({"action": "resume", "id": "r"})).await;
    let welcome = alice.next_of_type("welcome").await;
    let identity = ["user", "role", "tenant", "protocol"].map(|field| welcome[field].clone());
    assert_eq!(identity, [json!("alice"), json!("user"), json!("acme"), json!(1)]);
    assert_eq!(welcome["channels"]["conversation:alice"]["offset"], 1);
    assert_eq!(welcome["channels"]["everyone"]["offset"], 0);
    let resumed = alice.reply_to("r").await;
    assert_eq!((type_of(&resumed), &resumed["channels"]), ("resumed", &json!({})));
}

/// Clients that reconnect continuously while a conversation and a room have constant traffic.
pub async fn a_resume_during_live_traffic_has_no_loss_and_no_duplicates(world: &mut impl World) {
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
            let mut sent = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                writer.send_to_channel(channel, sent).await;
                sent += 1;
            }
            writer.close().await;
            (channel, sent)
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
                count += read_live_messages(&mut client, &CHANNELS).await;
                client.received_state().assert_complete("alice");
                seen = client.drop_abruptly();
            }
            (seen, count)
        });
    }
    let readers = readers.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let mut sent = [0_u64; 2];
    for (channel, count) in writers.join_all().await {
        sent[usize::from(channel == CHANNELS[1])] += count;
    }
    for (seen, count) in readers {
        assert!(count > ROUNDS as u64, "the traffic was not live: {count} messages in {ROUNDS} rounds");
        resume_to_the_head(world, seen, CHANNELS, sent).await;
    }
}

/// Resumes, and reads three live messages after the resume.
async fn read_live_messages(client: &mut Client, channels: &[&str]) -> u64 {
    let resumed = client.resume(channels).await;
    let missed: u64 = channels.iter().map(|channel| resumed["channels"][channel]["count"].as_u64().unwrap()).sum();
    for _ in 0..missed + 3 {
        client.next_of_type("message").await;
    }
    missed + 3
}

async fn resume_to_the_head(world: &mut impl World, seen: ReceivedState, channels: [&str; 2], sent: [u64; 2]) {
    let mut client = world.dial(&TokenClaims::user("alice")).with_received_state(seen).open().await;
    client.resume(&channels).await;
    for (channel, count) in channels.into_iter().zip(sent) {
        assert_eq!(
            client.received_state().last(channel),
            count,
            "the last offset of {channel} is not the last acknowledged one"
        );
    }
    client.close().await;
}

pub async fn messages_dropped_by_retention_are_reported_as_a_gap(world: &mut impl World) {
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

pub async fn a_position_of_another_epoch_is_reported_as_a_gap(world: &mut impl World) {
    let mut admin = world.admin("root").await;
    admin.send_to_channel("conversation:alice", "one").await;
    let mut foreign_state = ReceivedState::default();
    foreign_state.set_position("conversation:alice", "another-epoch", 7);
    let mut alice = world.dial(&TokenClaims::user("alice")).with_received_state(foreign_state).open().await;
    alice.resume(&["conversation:alice"]).await;
    assert_eq!(alice.next_of_type("gap").await["reason"], "epoch");
    assert_eq!(alice.bodies("conversation:alice", 1).await, ["one"]);
    alice.close().await;
}
