//! HS-1 to HS-7 and SUB-1 to SUB-7: the `101` response and subprotocols.

use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use gateway::route::RouteKey;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::compression;
use crate::conformance::client::{ConformanceClient, HandshakeBuilder};
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::wire::WireConnection;
use crate::conformance::world::CaseWorld;

/// The connection preface of HTTP/2 (RFC 9113 section 3.4) with an empty SETTINGS frame.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "HS-1",
        Reported,
        "The `101` has `Connection: upgrade`, `upgrade: websocket`, the accept value and a date, and no other header.",
        "the same fields and values; all names are in lower case, which HTTP treats as equal",
        |world| switching(world).boxed(),
    ),
    ConformanceRow::holds(
        "HS-2",
        Reported,
        "permessage-deflate is accepted when offered; a server window is accepted, a client window ignored.",
        "the same response to the captured offer, and the window is respected; texts are compressed only if that makes them smaller",
        |world| compression::negotiated(world).boxed(),
    ),
    ConformanceRow::holds(
        "HS-3",
        Unknown,
        "Whether the quotas of compressed messages count compressed or decompressed bytes is unknown.",
        "a frame's quota counts bytes on the wire, a message's the decompressed bytes; an invalid message is closed with 1007",
        |world| compression::quotas(world).boxed(),
    ),
    ConformanceRow::holds("HS-4", Inferred, "A client that offers no extension gets none.", SAME_BEHAVIOR, |world| {
        no_extension(world).boxed()
    }),
    ConformanceRow::holds(
        "HS-5",
        Inferred,
        "WebSockets over HTTP/2 (RFC 8441) are not supported.",
        "the same: the listener supports HTTP/1.1 only",
        |world| no_http2(world).boxed(),
    ),
    ConformanceRow::holds(
        "HS-6",
        Unknown,
        "The response to an upgrade request that violates RFC 6455 section 4.2.1 or has no valid Host is unknown.",
        "400; it names the supported version of the protocol",
        |world| invalid_upgrades(world).boxed(),
    ),
    ConformanceRow::differs(
        "HS-7",
        Inferred,
        "The endpoint does not compare `Origin` with anything.",
        "the same for clients of other machines; a listener on a loopback address without declared proxies accepts local hosts and origins only",
        "any web page can reach a loopback listener of the machine on which it is displayed",
        |world| foreign_pages(world).boxed(),
    ),
    ConformanceRow::holds(
        "SUB-1",
        Documented,
        "The `101` names a subprotocol only if `$connect` returned it as a header.",
        SAME_BEHAVIOR,
        |world| expect_subprotocol(world, "Sec-WebSocket-Protocol", "chat").boxed(),
    ),
    ConformanceRow::holds(
        "SUB-2",
        Reported,
        "If `$connect` returns none, the `101` has none; the connection is open until the client closes it.",
        SAME_BEHAVIOR,
        |world| no_subprotocol(world).boxed(),
    ),
    ConformanceRow::holds(
        "SUB-3",
        Inferred,
        "The handler may write the header's name in any case.",
        SAME_BEHAVIOR,
        |world| any_case(world).boxed(),
    ),
    ConformanceRow::holds(
        "SUB-4",
        Documented,
        "Without an integration on `$connect` no subprotocol is selected.",
        SAME_BEHAVIOR,
        |world| without_connect(world).boxed(),
    ),
    ConformanceRow::holds(
        "SUB-5",
        Unknown,
        "Whether a value that the client did not offer is forwarded is unknown.",
        "it is forwarded as the handler returned it",
        |world| expect_subprotocol(world, "Sec-WebSocket-Protocol", "never-offered").boxed(),
    ),
    ConformanceRow::holds(
        "SUB-6",
        Documented,
        "Functions on `lambda_http` return all headers in `multiValueHeaders`, which is accepted as well.",
        SAME_BEHAVIOR,
        |world| multi_valued(world).boxed(),
    ),
    ConformanceRow::holds(
        "SUB-7",
        Documented,
        "A 400 for an unknown subprotocol is forwarded to the client.",
        SAME_BEHAVIOR,
        |world| rejected(world).boxed(),
    ),
];

async fn switching(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let client = api.connect().await?;
    let head = &client.head;
    ensure!(head.status_line == "HTTP/1.1 101 Switching Protocols", "{head:?}");
    ensure!(head.header("connection") == Some("upgrade") && head.header("upgrade") == Some("websocket"), "{head:?}");
    let accept = derive_accept_key(STANDARD.encode(b"conformance-case").as_bytes());
    ensure!(head.header("sec-websocket-accept") == Some(&accept), "{head:?}");
    ensure!(head.names() == ["connection", "date", "sec-websocket-accept", "upgrade"], "{head:?}");
    Ok(())
}

async fn no_extension(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    ensure!(client.head.header("sec-websocket-extensions").is_none(), "{:?}", client.head);
    // The client checks that no reserved bit is set in the reply's frame.
    client.expect_no_reply().await
}

async fn no_http2(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a listener without a TLS proxy")?;
    let api = world.standard().await?;
    let mut wire = WireConnection::open(&api.endpoint, api.case_timeout()).await?;
    wire.send(HTTP2).await?;
    if wire.has_input_within(Duration::from_secs(1)).await {
        let response = wire.read_to_end().await?;
        ensure!(!response.starts_with(&[0, 0]), "the listener supports HTTP/2: {response:?}");
    }
    Ok(())
}

async fn invalid_upgrades(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let valid = String::from_utf8(HandshakeBuilder::new().request(&api.endpoint))?;
    for (from, to) in [
        ("Connection: Upgrade\r\n", ""),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12"),
        ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: x"),
    ] {
        let mut wire = WireConnection::open(&api.endpoint, api.case_timeout()).await?;
        wire.send(valid.replace(from, to).as_bytes()).await?;
        let head = wire.head().await?;
        let version = head.header("sec-websocket-version");
        ensure!((head.status, version) == (400, Some("13")), "{to:?} returned {head:?}");
    }
    for host in ["a b", ""] {
        let rejection = api.expect_rejection(HandshakeBuilder::new().host(host)).await?;
        ensure!(rejection.head.status == 400, "Host {host:?} returned {}", rejection.head.status);
    }
    Ok(())
}

async fn foreign_pages(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    api.dial(HandshakeBuilder::new().header("Origin", "https://any.example")).await?;
    let api = world.api(ApiSpec::special("a loopback listener", |spec| spec.local_pages_only = true)).await?;
    api.dial(HandshakeBuilder::new().header("Origin", "http://localhost:3000")).await?;
    for dial in
        [HandshakeBuilder::new().header("Origin", "https://any.example"), HandshakeBuilder::new().host("any.example")]
    {
        let rejection = api.expect_rejection(dial).await?;
        ensure!(rejection.head.status == 403, "the status is {}", rejection.head.status);
    }
    Ok(())
}

async fn with_connect_result(world: &CaseWorld, response: Value) -> anyhow::Result<ConformanceClient> {
    let api = world.standard().await?;
    let dial = HandshakeBuilder::new()
        .probe(json!({"connect": {"return": response}}))
        .header("Sec-WebSocket-Protocol", "chat, other");
    api.dial(dial).await
}

async fn expect_subprotocol(world: &CaseWorld, name: &str, value: &str) -> anyhow::Result<()> {
    let mut client = with_connect_result(world, json!({"statusCode": 200, "headers": {name: value}})).await?;
    ensure!(client.head.header("sec-websocket-protocol") == Some(value), "{:?}", client.head);
    client.expect_no_reply().await
}

async fn no_subprotocol(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.dial(HandshakeBuilder::new().header("Sec-WebSocket-Protocol", "chat")).await?;
    ensure!(client.head.header("sec-websocket-protocol").is_none(), "{:?}", client.head);
    client.expect_no_reply().await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    Ok(())
}

async fn any_case(world: &CaseWorld) -> anyhow::Result<()> {
    for name in ["Sec-Websocket-Protocol", "sec-websocket-protocol", "SEC-WEBSOCKET-PROTOCOL"] {
        expect_subprotocol(world, name, "chat").await?;
    }
    Ok(())
}

async fn without_connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api =
        world.api(ApiSpec::special("an API without a $connect route", |spec| spec.remove(RouteKey::CONNECT))).await?;
    let client = api.dial(HandshakeBuilder::new().header("Sec-WebSocket-Protocol", "chat")).await?;
    ensure!(client.head.header("sec-websocket-protocol").is_none(), "{:?}", client.head);
    Ok(())
}

async fn multi_valued(world: &CaseWorld) -> anyhow::Result<()> {
    let headers = json!({"sec-websocket-protocol": ["other"]});
    let response =
        json!({"statusCode": 200, "headers": {}, "multiValueHeaders": headers, "body": null, "isBase64Encoded": false});
    let client = with_connect_result(world, response).await?;
    ensure!(client.head.header("sec-websocket-protocol") == Some("other"), "{:?}", client.head);
    Ok(())
}

async fn rejected(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let dial = HandshakeBuilder::new().probe(json!({"connect": {"return": {"statusCode": 400}}}));
    let rejection = api.expect_rejection(dial.header("Sec-WebSocket-Protocol", "unknown")).await?;
    ensure!(rejection.head.status == 400, "the status is {}", rejection.head.status);
    Ok(())
}
