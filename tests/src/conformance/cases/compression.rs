//! HS-2 and HS-3: negotiation of permessage-deflate, and its effect on quotas.

use anyhow::ensure;
use serde_json::json;

use super::frames::{FRAME, MESSAGE, sized};
use crate::conformance::client::{ConformanceClient, HandshakeBuilder};
use crate::conformance::event::EventKind;
use crate::conformance::wire::deflate::Deflate;
use crate::conformance::world::{Api, CaseWorld};
use crate::websocket::{RawFrame, opcode};

/// Extension offer of a browser.
const OFFER: &str = "permessage-deflate; client_max_window_bits";

async fn offering(api: &Api, offer: &str) -> anyhow::Result<ConformanceClient> {
    api.dial(HandshakeBuilder::new().header("Sec-WebSocket-Extensions", offer)).await
}

fn negotiated_extensions(client: &ConformanceClient) -> Option<&str> {
    client.head.header("sec-websocket-extensions")
}

/// HS-2.
pub(super) async fn negotiated(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let captured = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
    let mut client = offering(&api, captured).await?;
    ensure!(
        negotiated_extensions(&client) == Some("permessage-deflate;server_max_window_bits=12"),
        "{:?}",
        client.head
    );
    exchange_messages(&mut client).await?;
    let mut client = offering(&api, OFFER).await?;
    ensure!(negotiated_extensions(&client) == Some("permessage-deflate"), "{:?}", client.head);
    exchange_messages(&mut client).await?;
    let malformed =
        ["permessage-deflate; server_max_window_bits=7", "permessage-deflate; no_such_parameter", "x-other"];
    for offer in malformed {
        let mut client = offering(&api, offer).await?;
        ensure!(negotiated_extensions(&client).is_none(), "{offer} was accepted: {:?}", client.head);
        client.expect_no_reply().await?;
    }
    let mut client = offering(&api, &format!("{}, {OFFER}", malformed[0])).await?;
    ensure!(negotiated_extensions(&client) == Some("permessage-deflate"), "{:?}", client.head);
    exchange_messages(&mut client).await
}

/// Checks that compressed messages arrive, in one frame or several, with context takeover, and that large replies are
/// compressed.
async fn exchange_messages(client: &mut ConformanceClient) -> anyhow::Result<()> {
    let mut deflate = Deflate::default();
    let long = "the same words again and again ".repeat(200);
    for _ in 0..2 {
        let directive = json!({"action": "ask", "answer": {"return": {"statusCode": 200, "body": long}}}).to_string();
        client.send(&[deflate.frame(directive)?]).await?;
        ensure!(client.text().await? == long, "another text was returned");
    }
    ensure!(client.compressed_messages > 0, "a text of {} bytes was not compressed", long.len());
    let payload = deflate.payload(sized(5_000))?;
    let (head, rest) = payload.split_at(payload.len() / 2);
    let frames = [
        RawFrame { fin: false, reserved: 0b100, ..RawFrame::new(opcode::TEXT, head) },
        RawFrame::new(opcode::CONTINUATION, rest),
    ];
    client.send(&frames).await?;
    ensure!(client.text().await? == "5000", "a compressed message in two frames was changed");
    // Compression stays optional for the client after negotiation.
    client.expect_no_reply().await
}

/// HS-3.
pub(super) async fn quotas(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = offering(&api, OFFER).await?;
    for bytes in [FRAME + 1, MESSAGE] {
        client.send(&[Deflate::default().frame(sized(bytes))?]).await?;
        ensure!(client.text().await? == bytes.to_string(), "{bytes} bytes in a small frame were changed");
    }
    closes(world, Deflate::default().frame(sized(MESSAGE + 1))?, 1009).await?;
    let bomb = Deflate::default().frame(vec![b' '; 16 * MESSAGE])?;
    ensure!(bomb.payload.len() < FRAME, "the compressed message has {} bytes", bomb.payload.len());
    closes(world, bomb, 1009).await?;
    closes(world, RawFrame { reserved: 0b100, ..RawFrame::new(opcode::TEXT, vec![0; FRAME + 1]) }, 1009).await?;
    closes(world, RawFrame { reserved: 0b100, ..RawFrame::new(opcode::TEXT, "not deflated") }, 1007).await?;
    closes(world, Deflate::default().frame(b"{\"a\":\"\xff\"}")?, 1007).await?;
    closes(world, RawFrame { reserved: 0b100, ..RawFrame::new(opcode::PING, "x") }, 1002).await?;
    closes(world, RawFrame { reserved: 0b010, ..RawFrame::new(opcode::TEXT, "x") }, 1002).await
}

/// Sends a frame on a connection with negotiated compression, and checks its close code.
async fn closes(world: &CaseWorld, frame: RawFrame, code: u16) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = offering(&api, OFFER).await?;
    client.send(&[frame]).await?;
    let closed = client.expect_close().await?;
    ensure!(closed.0 == code, "the connection was closed with {closed:?} instead of {code}");
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.number("disconnectStatusCode") == i64::from(code), "{}", event.raw);
    ensure!(api.count(EventKind::Message).await? == 0, "a message reached a function");
    Ok(())
}
