//! FR-1 to FR-11: what frames are allowed, and how others end the connection.

use std::time::Duration;

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::{Call, Client, Incoming};
use crate::conformance::event::Kind;
use crate::conformance::row::{Mark::*, Row, SAME};
use crate::conformance::spec::Spec;
use crate::conformance::world::World;
use crate::websocket::{Frame, opcode};

pub(super) const FRAME: usize = 32 * 1024;
pub(super) const MESSAGE: usize = 128 * 1024;

pub(super) const ROWS: &[Row] = &[
    Row::holds(
        "FR-1",
        Documented,
        "A binary frame closes the connection with 1003 and reaches no function.",
        SAME,
        |world| binary(world).boxed(),
    ),
    Row::holds(
        "FR-2",
        Documented,
        "A frame of more than 32 KB or a message of more than 128 KB closes the connection with 1009.",
        SAME,
        |world| too_big(world).boxed(),
    ),
    Row::holds("FR-3", Documented, "A larger message arrives when its frames are of at most 32 KB.", SAME, |world| {
        fragmented(world).boxed()
    }),
    Row::holds("FR-4", Documented, "Fragments are put together to one event.", SAME, |world| fragmented(world).boxed()),
    Row::holds(
        "FR-5",
        Documented,
        "The bounds are 32,768 and 131,072 bytes, both allowed (the first by deduction).",
        SAME,
        |world| bounds(world).boxed(),
    ),
    Row::holds(
        "FR-6",
        Documented,
        "Posts of up to 128 KB are accepted and sent in frames of at most 32 KB.",
        SAME,
        |world| large_post(world).boxed(),
    ),
    Row::holds(
        "FR-7",
        Inferred,
        "Posted data is sent as text whatever its content type; what bytes that are no UTF-8 do is not known.",
        "the same; bytes that are no UTF-8 are answered 400, because no text frame can carry them",
        |world| posts_are_text(world).boxed(),
    ),
    Row::holds(
        "FR-8",
        Unknown,
        "What an empty text frame and an empty post do is not known.",
        "the event has the body `\"\"` and goes to `$default`; the post is sent as an empty text frame",
        |world| empty(world).boxed(),
    ),
    Row::holds(
        "FR-9",
        Reported,
        "Pings make no events, and the gateway sends none; whether it answers them is disputed.",
        "pings are answered, as RFC 6455 asks",
        |world| pings(world).boxed(),
    ),
    Row::holds(
        "FR-10",
        Unknown,
        "Whether pings keep an idle connection open is not known; the advice is to send messages.",
        "they do not",
        |world| pings_are_not_activity(world).boxed(),
    ),
    Row::holds(
        "FR-11",
        Inferred,
        "Reserved opcodes and bits and unmasked frames are protocol errors (1002), bad UTF-8 is 1007.",
        SAME,
        |world| violations(world).boxed(),
    ),
];

/// A message for route `ask` of exactly `bytes` bytes; the probe answers with that number.
pub(super) fn sized(bytes: usize) -> String {
    let empty = r#"{"action":"ask","pad":""}"#.len();
    format!(r#"{{"action":"ask","pad":"{}"}}"#, "x".repeat(bytes - empty))
}

/// Sends `frames` on a fresh connection and checks the code with which it is closed, and that no function saw them.
pub(super) async fn closes(world: &World, frames: &[Frame], code: u16) -> anyhow::Result<(u16, String)> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(frames).await?;
    let closed = client.closed().await?;
    ensure!(closed.0 == code, "the connection was closed with {closed:?}");
    let event = api.next(Kind::Disconnect).await?;
    ensure!(api.count(Kind::Message).await? == 0, "a message reached a function");
    let told = (event.number("disconnectStatusCode"), event.context("disconnectReason"));
    ensure!(told == (i64::from(code), closed.1.as_str()), "$disconnect says {told:?}");
    Ok(closed)
}

async fn binary(world: &World) -> anyhow::Result<()> {
    closes(world, &[Frame::new(opcode::BINARY, "hello")], 1003).await?;
    let pieces = [Frame { fin: false, ..Frame::new(opcode::BINARY, "a") }, Frame::new(opcode::CONTINUATION, "b")];
    closes(world, &pieces, 1003).await?;
    Ok(())
}

async fn too_big(world: &World) -> anyhow::Result<()> {
    closes(world, &[Frame::new(opcode::TEXT, sized(FRAME + 1))], 1009).await?;
    closes(world, &[Frame::new(opcode::TEXT, sized(1024 * 1024))], 1009).await?;
    closes(world, &Frame::fragments(&sized(MESSAGE + 1), FRAME), 1009).await?;
    Ok(())
}

/// Sends `frames`, a message of `bytes` bytes, and checks that it arrived whole.
async fn arrives(client: &mut Client, frames: &[Frame], bytes: usize) -> anyhow::Result<()> {
    client.send(frames).await?;
    let answer = client.text().await?;
    ensure!(answer == bytes.to_string(), "the function saw {answer} bytes of {bytes}");
    Ok(())
}

async fn fragmented(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    arrives(&mut client, &Frame::fragments(&sized(100_000), FRAME), 100_000).await?;
    let mut frames = Frame::fragments(&sized(60_000), 20_000);
    frames.insert(1, Frame::new(opcode::PING, "between"));
    client.send(&frames).await?;
    ensure!(client.next().await? == Incoming::Pong(b"between".to_vec()), "a ping between fragments was not answered");
    ensure!(client.text().await? == "60000", "fragments around a ping were not put together");
    ensure!(api.count(Kind::Message).await? <= 2, "more events than messages");
    Ok(())
}

async fn bounds(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    arrives(&mut client, &[Frame::new(opcode::TEXT, sized(FRAME))], FRAME).await?;
    arrives(&mut client, &Frame::fragments(&sized(MESSAGE), FRAME), MESSAGE).await?;
    closes(world, &[Frame::new(opcode::TEXT, sized(FRAME + 1))], 1009).await?;
    closes(world, &Frame::fragments(&sized(MESSAGE + 1), FRAME), 1009).await?;
    Ok(())
}

async fn large_post(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    for bytes in [FRAME, FRAME + 1, MESSAGE] {
        let text = "ü".repeat(bytes / 2) + if bytes % 2 == 1 { "x" } else { "" };
        let answer = api.post(&id, text.clone()).await?;
        ensure!(answer.head.status == 200, "{bytes} bytes were answered {}", answer.head.status);
        client.frame_sizes.clear();
        ensure!(client.text().await? == text, "{bytes} bytes arrived otherwise");
        let sizes = &client.frame_sizes;
        ensure!(sizes.iter().all(|size| *size <= FRAME) && sizes.len() == bytes.div_ceil(FRAME), "frames of {sizes:?}");
    }
    Ok(())
}

async fn posts_are_text(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    for content_type in ["application/octet-stream", "image/png", "application/json", "text/plain; charset=latin1"] {
        let call = Call::new("POST", &api.place, &id).header("Content-Type", content_type).body("some text");
        ensure!(api.call(call).await?.head.status == 200);
        ensure!(client.text().await? == "some text");
    }
    let answer = api.post(&id, [0xff, 0xfe, 0x00]).await?;
    ensure!(answer.error() == (400, Some("BadRequestException")), "bad UTF-8 was answered {:?}", answer.error());
    client.heard_nothing().await
}

async fn empty(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    client.send_text("").await?;
    let event = api.next(Kind::Message).await?;
    ensure!(event.value["body"] == "" && event.context("routeKey") == "$default", "{}", event.raw);
    ensure!(api.post(&id, "").await?.head.status == 200);
    ensure!(client.text().await?.is_empty());
    Ok(())
}

async fn pings(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(&[Frame::new(opcode::PING, "are you there"), Frame::new(opcode::PONG, "unasked")]).await?;
    ensure!(client.next().await? == Incoming::Pong(b"are you there".to_vec()), "the ping was not answered");
    client.heard_nothing().await?;
    ensure!(api.count(Kind::Message).await? <= 1, "a ping made an event");
    Ok(())
}

async fn pings_are_not_activity(world: &World) -> anyhow::Result<()> {
    let api = world.api(Spec::compressed(Duration::from_millis(400), Duration::from_secs(60))).await?;
    let mut client = api.connect().await?;
    for _ in 0..40 {
        if client.send(&[Frame::new(opcode::PING, "x")]).await.is_err() {
            break;
        }
        match client.next().await? {
            Incoming::Pong(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Incoming::Close(1001, _) => return Ok(()),
            other => anyhow::bail!("expected pongs and then 1001, got {other:?}"),
        }
    }
    anyhow::bail!("pings kept the connection open")
}

async fn violations(world: &World) -> anyhow::Result<()> {
    let text = || Frame::new(opcode::TEXT, "x");
    let broken = [
        Frame { masked: false, ..text() },
        Frame { reserved: 0b100, ..text() },
        Frame { reserved: 0b001, ..text() },
        Frame::new(3, "x"),
        Frame::new(11, "x"),
        Frame::new(opcode::CONTINUATION, "x"),
        Frame { fin: false, ..Frame::new(opcode::PING, "x") },
        Frame::new(opcode::PING, vec![b'x'; 126]),
    ];
    for frame in broken {
        closes(world, std::slice::from_ref(&frame), 1002).await?;
    }
    closes(world, &[Frame::new(opcode::TEXT, [0xc3, 0x28])], 1007).await?;
    closes(
        world,
        &[Frame { fin: false, ..Frame::new(opcode::TEXT, [0xff]) }, Frame::new(opcode::CONTINUATION, "")],
        1007,
    )
    .await?;
    // Nothing is wrong with a character that two frames share.
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send(&Frame::fragments("{\"action\":\"ask\",\"a\":\"ü\"}", 22)).await?;
    ensure!(client.text().await? == "25", "a character in two frames was refused");
    client.ask(json!({})).await?;
    Ok(())
}
