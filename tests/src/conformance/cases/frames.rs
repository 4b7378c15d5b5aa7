//! FR-1 to FR-11: accepted frames, and close codes for all others.

use std::time::Duration;

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::{ConformanceClient, ManagementRequest, ReceivedItem};
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;
use crate::websocket::{RawFrame, opcode};

pub(super) const FRAME: usize = 32 * 1024;
pub(super) const MESSAGE: usize = 128 * 1024;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "FR-1",
        Documented,
        "A binary frame closes the connection with 1003 and reaches no function.",
        SAME_BEHAVIOR,
        |world| binary(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-2",
        Documented,
        "A frame of more than 32 KB or a message of more than 128 KB closes the connection with 1009.",
        SAME_BEHAVIOR,
        |world| above_limits(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-3",
        Documented,
        "A larger message arrives if each of its frames has at most 32 KB.",
        SAME_BEHAVIOR,
        |world| fragmented(world).boxed(),
    ),
    ConformanceRow::holds("FR-4", Documented, "Fragments are joined into one event.", SAME_BEHAVIOR, |world| {
        fragmented(world).boxed()
    }),
    ConformanceRow::holds(
        "FR-5",
        Documented,
        "The limits are 32,768 and 131,072 bytes, both inclusive (the first by deduction).",
        SAME_BEHAVIOR,
        |world| bounds(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-6",
        Documented,
        "Posts of up to 128 KB are accepted and sent in frames of at most 32 KB.",
        SAME_BEHAVIOR,
        |world| large_post(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-7",
        Inferred,
        "Posted data is sent as text whatever its content type; the handling of invalid UTF-8 is unknown.",
        "the same; invalid UTF-8 returns 400, because a text frame cannot carry it",
        |world| posts_are_text(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-8",
        Unknown,
        "The handling of an empty text frame and of an empty post is unknown.",
        "the event has the body `\"\"` and goes to `$default`; the post is sent as an empty text frame",
        |world| empty(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-9",
        Reported,
        "Pings cause no events, and the gateway sends none; sources disagree whether it answers them.",
        "pings are answered, as RFC 6455 requires; the server sends none unless `session.ping_interval` is set",
        |world| pings(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-10",
        Unknown,
        "Whether pings keep an idle connection open is unknown; the advice is to send messages.",
        "they do not",
        |world| pings_are_not_activity(world).boxed(),
    ),
    ConformanceRow::holds(
        "FR-11",
        Inferred,
        "Reserved opcodes and bits and unmasked frames are protocol errors (1002), invalid UTF-8 is 1007.",
        SAME_BEHAVIOR,
        |world| violations(world).boxed(),
    ),
];

/// Returns a message of exactly `bytes` bytes for route `ask`; the probe replies with that number.
pub(super) fn sized(bytes: usize) -> String {
    let empty = r#"{"action":"ask","pad":""}"#.len();
    format!(r#"{{"action":"ask","pad":"{}"}}"#, "x".repeat(bytes - empty))
}

/// Sends `frames` on a new connection and checks the close code, the event of `$disconnect`, and that no function
/// received a message.
pub(super) async fn closes(world: &CaseWorld, frames: &[RawFrame], code: u16) -> anyhow::Result<(u16, String)> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(frames).await?;
    let closed = client.expect_close().await?;
    ensure!(closed.0 == code, "the connection was closed with {closed:?}");
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(api.count(EventKind::Message).await? == 0, "a message reached a function");
    let reported = (event.number("disconnectStatusCode"), event.context("disconnectReason"));
    ensure!(reported == (i64::from(code), closed.1.as_str()), "$disconnect reports {reported:?}");
    Ok(closed)
}

async fn binary(world: &CaseWorld) -> anyhow::Result<()> {
    closes(world, &[RawFrame::new(opcode::BINARY, "hello")], 1003).await?;
    let pieces =
        [RawFrame { fin: false, ..RawFrame::new(opcode::BINARY, "a") }, RawFrame::new(opcode::CONTINUATION, "b")];
    closes(world, &pieces, 1003).await?;
    Ok(())
}

async fn above_limits(world: &CaseWorld) -> anyhow::Result<()> {
    closes(world, &[RawFrame::new(opcode::TEXT, sized(FRAME + 1))], 1009).await?;
    closes(world, &[RawFrame::new(opcode::TEXT, sized(1024 * 1024))], 1009).await?;
    closes(world, &RawFrame::fragments(&sized(MESSAGE + 1), FRAME), 1009).await?;
    Ok(())
}

/// Sends `frames`, a message of `bytes` bytes, and checks that it arrived completely.
async fn arrives(client: &mut ConformanceClient, frames: &[RawFrame], bytes: usize) -> anyhow::Result<()> {
    client.send(frames).await?;
    let reply = client.text().await?;
    ensure!(reply == bytes.to_string(), "the function received {reply} bytes of {bytes}");
    Ok(())
}

async fn fragmented(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    arrives(&mut client, &RawFrame::fragments(&sized(100_000), FRAME), 100_000).await?;
    let mut frames = RawFrame::fragments(&sized(60_000), 20_000);
    frames.insert(1, RawFrame::new(opcode::PING, "between"));
    client.send(&frames).await?;
    ensure!(
        client.next().await? == ReceivedItem::Pong(b"between".to_vec()),
        "a ping between fragments was not answered"
    );
    ensure!(client.text().await? == "60000", "fragments around a ping were not joined");
    ensure!(api.count(EventKind::Message).await? <= 2, "more events than messages");
    Ok(())
}

async fn bounds(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    arrives(&mut client, &[RawFrame::new(opcode::TEXT, sized(FRAME))], FRAME).await?;
    arrives(&mut client, &RawFrame::fragments(&sized(MESSAGE), FRAME), MESSAGE).await?;
    closes(world, &[RawFrame::new(opcode::TEXT, sized(FRAME + 1))], 1009).await?;
    closes(world, &RawFrame::fragments(&sized(MESSAGE + 1), FRAME), 1009).await?;
    Ok(())
}

async fn large_post(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    for bytes in [FRAME, FRAME + 1, MESSAGE] {
        let text = "ü".repeat(bytes / 2) + if bytes % 2 == 1 { "x" } else { "" };
        let reply = api.post(&id, text.clone()).await?;
        ensure!(reply.head.status == 200, "{bytes} bytes returned {}", reply.head.status);
        client.frame_sizes.clear();
        ensure!(client.text().await? == text, "{bytes} bytes were changed");
        let sizes = &client.frame_sizes;
        ensure!(sizes.iter().all(|size| *size <= FRAME) && sizes.len() == bytes.div_ceil(FRAME), "frames of {sizes:?}");
    }
    Ok(())
}

async fn posts_are_text(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    for content_type in ["application/octet-stream", "image/png", "application/json", "text/plain; charset=latin1"] {
        let call =
            ManagementRequest::new("POST", &api.endpoint, &id).header("Content-Type", content_type).body("some text");
        ensure!(api.call(call).await?.head.status == 200);
        ensure!(client.text().await? == "some text");
    }
    let reply = api.post(&id, [0xff, 0xfe, 0x00]).await?;
    ensure!(reply.error() == (400, Some("BadRequestException")), "invalid UTF-8 returned {:?}", reply.error());
    client.expect_no_reply().await
}

async fn empty(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    client.send_text("").await?;
    let event = api.next(EventKind::Message).await?;
    ensure!(event.value["body"] == "" && event.context("routeKey") == "$default", "{}", event.raw);
    ensure!(api.post(&id, "").await?.head.status == 200);
    ensure!(client.text().await?.is_empty());
    Ok(())
}

async fn pings(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(&[RawFrame::new(opcode::PING, "ping text"), RawFrame::new(opcode::PONG, "unsolicited")]).await?;
    ensure!(client.next().await? == ReceivedItem::Pong(b"ping text".to_vec()), "the ping was not answered");
    client.expect_no_reply().await?;
    ensure!(api.count(EventKind::Message).await? <= 1, "a ping caused an event");
    Ok(())
}

async fn pings_are_not_activity(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(Duration::from_millis(400), Duration::from_secs(60))).await?;
    let mut client = api.connect().await?;
    for _ in 0..40 {
        if client.send(&[RawFrame::new(opcode::PING, "x")]).await.is_err() {
            break;
        }
        match client.next().await? {
            ReceivedItem::Pong(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            ReceivedItem::Close(1001, _) => return Ok(()),
            other => anyhow::bail!("expected pongs and then 1001, got {other:?}"),
        }
    }
    anyhow::bail!("pings kept the connection open")
}

async fn violations(world: &CaseWorld) -> anyhow::Result<()> {
    let text = || RawFrame::new(opcode::TEXT, "x");
    let invalid_frames = [
        RawFrame { masked: false, ..text() },
        RawFrame { reserved: 0b100, ..text() },
        RawFrame { reserved: 0b001, ..text() },
        RawFrame::new(3, "x"),
        RawFrame::new(11, "x"),
        RawFrame::new(opcode::CONTINUATION, "x"),
        RawFrame { fin: false, ..RawFrame::new(opcode::PING, "x") },
        RawFrame::new(opcode::PING, vec![b'x'; 126]),
    ];
    for frame in invalid_frames {
        closes(world, std::slice::from_ref(&frame), 1002).await?;
    }
    closes(world, &[RawFrame::new(opcode::TEXT, [0xc3, 0x28])], 1007).await?;
    closes(
        world,
        &[RawFrame { fin: false, ..RawFrame::new(opcode::TEXT, [0xff]) }, RawFrame::new(opcode::CONTINUATION, "")],
        1007,
    )
    .await?;
    // A character may be split over two frames.
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(&RawFrame::fragments("{\"action\":\"ask\",\"a\":\"ü\"}", 22)).await?;
    ensure!(client.text().await? == "25", "a character in two frames was rejected");
    client.request_directive(json!({})).await?;
    Ok(())
}
