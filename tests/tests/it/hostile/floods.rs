//! Floods: clients that do not wait, and clients that do not read.

use serde_json::{Value, json};
use tests::client::raw::RawConnection;
use tests::client::{Client, type_of};
use tests::server::TwinwayServer;
use tests::websocket::{RawFrame, encode, opcode};
use tests::world::TokenClaims;
use tokio::task::JoinSet;

use super::{HostileFixture, dial};

/// Number of messages that flood the room, and their size: far more than an outbox and the kernel's buffers hold.
const FLOOD: u64 = 2_000;
const BODY_BYTES: usize = 4_096;
/// Maximum memory growth of the server for a flood of 8 MB, in KiB: a few outboxes of 256 KiB, plus allocator
/// overhead.
const GROWTH_KIB: u64 = 12 * 1024;

#[tokio::test]
async fn a_thousand_messages_without_waiting_are_all_acknowledged_in_order() {
    let fixture = HostileFixture::with_server(TwinwayServer::launch().start().await).await;
    let mut alice = fixture.user("alice").await;
    let ids: Vec<_> = (1..=1_000).map(|number| format!("m{number}")).collect();
    alice.send_all(ids.iter().map(|id| json!({"action": "send", "id": id, "body": id}).to_string())).await;
    for (offset, id) in (1_u64..).zip(&ids) {
        let ack = alice.next_where("an ack", |frame| type_of(frame) == "ack").await;
        assert_eq!((&ack["id"], &ack["offset"]), (&json!(id), &json!(offset)));
    }
    let expected: Vec<Value> = ids.into_iter().map(Value::from).collect();
    assert_eq!(alice.bodies("conversation:alice", 1_000).await, expected);
    alice.close().await;
    fixture.finish().await;
}

/// Floods a room with several readers and one client that does not read; returns the latter.
async fn flood(fixture: &HostileFixture) -> Client {
    let mut stopped =
        dial(&fixture.server, &TokenClaims::user("stopped")).with_receive_buffer(4_096).open_and_confirm().await;
    stopped.join_channels("join", &["room:busy"]).await;
    let mut readers = JoinSet::new();
    for name in ["anna", "bert", "cleo"] {
        let mut reader = fixture.user(name).await;
        reader.join_channels("join", &["room:busy"]).await;
        readers.spawn(async move {
            let bodies = reader.bodies("room:busy", FLOOD as usize).await;
            assert!(bodies.iter().zip(0..).all(|(body, number)| body["n"] == number), "{name} received another order");
            reader.close().await;
        });
    }
    let mut writer = dial(&fixture.server, &TokenClaims::admin("writer")).open_and_confirm().await;
    let before = fixture.server.resident_kib();
    let filler = "x".repeat(BODY_BYTES);
    for number in 0..FLOOD {
        writer.send_to_channel("room:busy", json!({"n": number, "filler": filler})).await;
    }
    let grown = fixture.server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB for a client that does not read");
    writer.close().await;
    readers.join_all().await;
    stopped
}

#[tokio::test]
async fn a_client_that_stops_reading_affects_no_other_and_receives_a_gap() {
    // A short retention, so that the server's memory is that of its connections.
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_RETENTION_ENTRIES", 10);
    let fixture =
        HostileFixture::with_server(launch.with_env("TWINWAY_STALLED_WRITE_TIMEOUT", "10m").start().await).await;
    let mut stopped = flood(&fixture).await;
    let dropped = fixture.server.metric("twinway_delivery_dropped_frames_total").await.unwrap_or_default();
    assert!(dropped > 0.0, "no frame was dropped, so the flood was too small");
    // A client that reads again receives the retained messages, a gap for the dropped ones, and then live messages.
    let gap = stopped.next_of_type("gap").await;
    assert_eq!((&gap["channel"], &gap["reason"]), (&json!("room:busy"), &json!("slow")));
    stopped.send_to_channel("room:busy", json!({"n": "live again"})).await;
    stopped.next_where("a live message", |frame| frame["body"]["n"] == "live again").await;
    assert_eq!(stopped.received_state().last("room:busy"), FLOOD + 1);
    stopped.close().await;
    fixture.finish().await;
}

/// Number of connections that send and do not read.
const UNREAD_CONNECTIONS: u64 = 8;
/// Largest message and frame of profile `open`, in bytes.
const OPEN_MESSAGE_BYTES: usize = 4 << 20;
const OPEN_FRAME_BYTES: usize = 1 << 20;
/// Maximum memory of such a connection, in KiB: `session.outbox_bytes` and `session.inbound_bytes` (256 KiB each), one
/// message (4 MiB), 512 KiB for the page that its resume reads and the buffers of the socket, and one frame (1 MiB) that was
/// freed and that the allocator still holds.
const CONNECTION_KIB: u64 = 256 + 256 + 4096 + 512 + 1024;
/// Freed memory that the allocator holds for the threads of the process, in KiB: one message.
const ALLOCATOR_KIB: u64 = 4 * 1024;

/// Each connection requests a resume of 4 MiB, never reads it, and sends messages of the largest size.
#[tokio::test]
async fn an_unread_resume_and_messages_of_the_largest_size_have_one_bound_per_connection() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_PROFILE", "open");
    let launch = launch.with_env("TWINWAY_STALLED_WRITE_TIMEOUT", "10m").with_env("TWINWAY_PING_INTERVAL", "off");
    let fixture = HostileFixture::with_server(launch.start().await).await;
    let mut mallory = fixture.user("mallory").await;
    let filler = "x".repeat(27 * 1024);
    for _ in 0..160 {
        mallory.send_to_channel("conversation:mallory", filler.as_str()).await;
    }
    mallory.close().await;
    let before = fixture.server.resident_kib();
    let received_before = fixture.server.metric("twinway_session_received_messages_total").await.unwrap_or_default();
    let resume = json!({"action": "resume", "channels": {"conversation:mallory": {"offset": 0}}}).to_string();
    let frames = RawFrame::fragments(&"x".repeat(OPEN_MESSAGE_BYTES), OPEN_FRAME_BYTES);
    let message: std::sync::Arc<[u8]> = frames.iter().flat_map(RawFrame::to_bytes).collect();
    let mut connections = JoinSet::new();
    for _ in 0..UNREAD_CONNECTIONS {
        let raw = RawConnection::connect_with_receive_buffer(fixture.server.traffic, 4_096).await;
        let mut raw = raw.into_upgraded("/prod", &fixture.token("mallory")).await;
        raw.write(&encode(opcode::TEXT, resume.as_bytes())).await;
        let message = message.clone();
        // The server stops reading, so this waits until the test ends.
        connections.spawn(async move { while raw.try_write(&message).await {} });
    }
    // Of each connection the resume, which waits for the client, and one message.
    let received = received_before + 2.0 * UNREAD_CONNECTIONS as f64;
    fixture.server.wait_for_metric("twinway_session_received_messages_total", received).await;
    let grown = fixture.server.resident_kib().saturating_sub(before);
    let bound = UNREAD_CONNECTIONS * CONNECTION_KIB + ALLOCATOR_KIB;
    assert!(grown < bound, "the server grew by {grown} KiB, the bound is {bound} KiB");
    assert_eq!(fixture.server.metric("twinway_session_received_messages_total").await, Some(received));
    connections.shutdown().await;
    fixture.finish().await;
}

/// One client invents names as fast as it can: it is limited, and names that it has left use no memory.
#[tokio::test]
async fn a_client_that_resumes_invented_channels_is_limited_and_uses_no_memory() {
    let fixture = HostileFixture::start().await;
    let mut mallory = fixture.user("mallory").await;
    let before = fixture.server.resident_kib();
    let (mut resumed, mut limited) = (0, None);
    for frame in 0..200 {
        let channels: Vec<String> = (0..64).map(|number| format!("topic:t{frame}-{number}")).collect();
        let answer = mallory.request(json!({"action": "resume", "channels": channels})).await;
        if type_of(&answer) == "error" {
            limited = Some(answer);
            break;
        }
        resumed += 1;
        let answer = mallory.request(json!({"action": "unsubscribe", "channels": channels})).await;
        if type_of(&answer) == "error" {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("the budget of 2,000 units ends");
    assert_eq!(limited["code"], "rate_limited");
    assert!(limited["retryAfterMs"].as_u64().is_some_and(|wait| (1..=1_000).contains(&wait)), "{limited}");
    assert!(resumed >= 15, "a burst of 2,000 units admits {resumed} times 128");
    assert!(fixture.server.metric("twinway_delivery_limited_actions_total").await >= Some(1.0));
    let grown = fixture.server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "the server grew by {grown} KiB");
    mallory.send_to_channel("conversation:mallory", "sending is not limited").await;
    mallory.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_client_that_never_reads_again_is_disconnected() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_RETENTION_ENTRIES", 10);
    let fixture =
        HostileFixture::with_server(launch.with_env("TWINWAY_STALLED_WRITE_TIMEOUT", "500ms").start().await).await;
    let stopped = flood(&fixture).await;
    fixture.server.wait_for_metric("twinway_session_closed_connections_total{cause=\"slow_consumer\"}", 1.0).await;
    drop(stopped);
    fixture.finish().await;
}
