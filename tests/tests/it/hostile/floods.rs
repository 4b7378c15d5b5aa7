//! Too much at once: clients that do not wait, and clients that do not read.

use serde_json::{Value, json};
use tests::client::{Client, type_of};
use tests::server::TwinwayServer;
use tests::world::TokenClaims;
use tokio::task::JoinSet;

use super::{Scene, dial};

/// How many messages flood the room, and how large each is: far more than an outbox and the kernel's buffers hold.
const FLOOD: u64 = 2_000;
const BODY_BYTES: usize = 4_096;
/// What the server may grow by while 8 MB go through it, in KiB: a few outboxes of 256 KiB, and what allocators keep.
const GROWTH_KIB: u64 = 12 * 1024;

#[tokio::test]
async fn a_thousand_messages_without_waiting_are_all_acknowledged_in_order() {
    let scene = Scene::with(TwinwayServer::launch().start().await).await;
    let mut alice = scene.user("alice").await;
    let ids: Vec<_> = (1..=1_000).map(|number| format!("m{number}")).collect();
    alice.send_all(ids.iter().map(|id| json!({"action": "send", "id": id, "body": id}).to_string())).await;
    for (offset, id) in (1_u64..).zip(&ids) {
        let ack = alice.next_where("an ack", |frame| type_of(frame) == "ack").await;
        assert_eq!((&ack["id"], &ack["offset"]), (&json!(id), &json!(offset)));
    }
    let expected: Vec<Value> = ids.into_iter().map(Value::from).collect();
    assert_eq!(alice.bodies("conversation:alice", 1_000).await, expected);
    alice.close().await;
    scene.end().await;
}

/// Lets several people read a room while one does not, and floods it. Returns the one who did not read.
async fn flood(scene: &Scene) -> Client {
    let mut stopped =
        dial(&scene.server, &TokenClaims::user("stopped")).with_receive_buffer(4_096).open_and_confirm().await;
    stopped.join_channels("join", &["room:busy"]).await;
    let mut readers = JoinSet::new();
    for name in ["anna", "bert", "cleo"] {
        let mut reader = scene.user(name).await;
        reader.join_channels("join", &["room:busy"]).await;
        readers.spawn(async move {
            let bodies = reader.bodies("room:busy", FLOOD as usize).await;
            assert!(bodies.iter().zip(0..).all(|(body, number)| body["n"] == number), "{name} got another order");
            reader.close().await;
        });
    }
    let mut writer = dial(&scene.server, &TokenClaims::admin("writer")).open_and_confirm().await;
    let before = scene.server.resident_kib();
    let filler = "x".repeat(BODY_BYTES);
    for number in 0..FLOOD {
        writer.send_to_channel("room:busy", json!({"n": number, "filler": filler})).await;
    }
    let grown = scene.server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB for a client that does not read");
    writer.close().await;
    readers.join_all().await;
    stopped
}

#[tokio::test]
async fn who_stops_reading_harms_nobody_and_is_told_what_was_left_out() {
    // The log forgets at once, so that the server's memory is that of its connections.
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_RETENTION_ENTRIES", 10);
    let scene = Scene::with(launch.with_env("TWINWAY_STALLED_WRITE_TIMEOUT", "10m").start().await).await;
    let mut stopped = flood(&scene).await;
    let shed = scene.server.metric("twinway_delivery_dropped_frames_total").await.unwrap_or_default();
    assert!(shed > 0.0, "nothing was shed, so the flood was too small to show anything");
    // Whoever reads again gets what was kept, a gap for what was not, and then live messages.
    let gap = stopped.next_of_type("gap").await;
    assert_eq!((&gap["channel"], &gap["reason"]), (&json!("room:busy"), &json!("slow")));
    stopped.send_to_channel("room:busy", json!({"n": "live again"})).await;
    stopped.next_where("a live message", |frame| frame["body"]["n"] == "live again").await;
    assert_eq!(stopped.received_state().last("room:busy"), FLOOD + 1);
    stopped.close().await;
    scene.end().await;
}

#[tokio::test]
async fn who_never_reads_again_is_cut() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_RETENTION_ENTRIES", 10);
    let scene = Scene::with(launch.with_env("TWINWAY_STALLED_WRITE_TIMEOUT", "500ms").start().await).await;
    let stopped = flood(&scene).await;
    scene.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"slow_consumer\"}", 1.0).await;
    drop(stopped);
    scene.end().await;
}
