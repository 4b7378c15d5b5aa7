//! DC-1 to DC-12 and the table of section 6: when `$disconnect` runs and what it is told.

use std::time::Duration;

use anyhow::ensure;
use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::conformance::client::{ConformanceClient, HandshakeBuilder};
use crate::conformance::event::{Event, EventKind};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};
use crate::websocket::{RawFrame, opcode};

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "DC-1",
        Documented,
        "`$disconnect` runs after the connection was closed by either side, as far as the gateway can.",
        "the same",
        |world| either_side(world).boxed(),
    ),
    ConformanceRow::holds("DC-2", Documented, "What `$disconnect` answers is ignored.", SAME_BEHAVIOR, |world| {
        answer_ignored(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-3",
        Reported,
        "With a close frame it runs at once; without one when the loss is noticed.",
        "the same; a TCP reset or end is noticed at once",
        |world| either_side(world).boxed(),
    ),
    ConformanceRow::holds("DC-4", Inferred, "It runs at most once per connection.", "exactly once", |world| {
        once(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-5",
        Documented,
        "The connection is gone by then: a post from the handler is answered 410.",
        SAME_BEHAVIOR,
        |world| post_from_handler(world).boxed(),
    ),
    ConformanceRow::holds(
        "DC-6",
        Inferred,
        "After a refused `$connect` it does not run (one report of 2019 disagrees).",
        "it does not run",
        |world| after_refusal(world).boxed(),
    ),
    ConformanceRow::holds(
        "6-1",
        Documented,
        "The client closes without a status: 1005 `Client-side close frame status not set`.",
        SAME_BEHAVIOR,
        |world| by_client(world, None, 1005, "Client-side close frame status not set").boxed(),
    ),
    ConformanceRow::holds(
        "6-2",
        Reported,
        "The client closes with a code and no reason: that code, empty reason.",
        SAME_BEHAVIOR,
        |world| by_client(world, Some((1001, "")), 1001, "").boxed(),
    ),
    ConformanceRow::holds("6-3", Inferred, "The client closes with code and reason: both.", SAME_BEHAVIOR, |world| {
        code_and_reason(world).boxed()
    }),
    ConformanceRow::holds(
        "6-4",
        Reported,
        "Idle timeout: 1001 `Going away`.",
        "the same; here the ten minutes are 300 ms",
        |world| timed(world, ApiSpec::compressed(Duration::from_millis(300), Duration::from_secs(60))).boxed(),
    ),
    ConformanceRow::holds(
        "6-5",
        Inferred,
        "End of the 2 hours: 1001 `Going away`.",
        "the same; here the 2 hours are 300 ms",
        |world| timed(world, ApiSpec::compressed(Duration::from_secs(60), Duration::from_millis(300))).boxed(),
    ),
    ConformanceRow::holds(
        "6-6",
        Reported,
        "`DELETE @connections`: 1000 `Connection Closed Normally`.",
        SAME_BEHAVIOR,
        |world| deleted(world).boxed(),
    ),
    ConformanceRow::holds(
        "6-7",
        Unknown,
        "The network breaks without a close frame: 1006 is expected, the text is not known.",
        "1006 `Connection lost`",
        |world| lost(world).boxed(),
    ),
    ConformanceRow::holds(
        "6-8",
        Inferred,
        "A binary frame or too large a message: 1003 or 1009 is expected, the texts are not known.",
        "the same codes; the texts are those of the close frame",
        |world| forbidden(world).boxed(),
    ),
    ConformanceRow::holds(
        "DC-10",
        Reported,
        "1001 alone does not tell an idle connection from a closed tab; the reason does.",
        SAME_BEHAVIOR,
        |world| idle_or_tab(world).boxed(),
    ),
    ConformanceRow::holds("DC-11", Reported, "`authorizer` is part of the event.", SAME_BEHAVIOR, |world| {
        authorizer(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-12",
        Reported,
        "Event types of some languages long lacked code and reason.",
        "the public type for Rust has both, and reads our event",
        |world| typed(world).boxed(),
    ),
];

fn told(event: &Event) -> (i64, &str) {
    (event.number("disconnectStatusCode"), event.context("disconnectReason"))
}

async fn by_client(world: &CaseWorld, status: Option<(u16, &str)>, code: i64, reason: &str) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.close(status).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(told(&event) == (code, reason), "{}", event.raw);
    Ok(())
}

async fn code_and_reason(world: &CaseWorld) -> anyhow::Result<()> {
    for (code, reason) in [(1000, "bye"), (3000, ""), (4000, "mine"), (4999, "äöü \"quoted\"")] {
        by_client(world, Some((code, reason)), code.into(), reason).await?;
    }
    Ok(())
}

/// Ends a connection by dropping the socket.
async fn drop_socket(client: ConformanceClient) {
    drop(client);
}

async fn either_side(world: &CaseWorld) -> anyhow::Result<()> {
    by_client(world, Some((1000, "")), 1000, "").await?;
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.expect_no_reply().await?;
    drop_socket(client).await;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.number("disconnectStatusCode") == 1006, "{}", event.raw);
    let mut client = api.connect().await?;
    client.send(&[RawFrame::new(opcode::BINARY, "x")]).await?;
    client.expect_close().await?;
    api.next(EventKind::Disconnect).await?;
    Ok(())
}

async fn answer_ignored(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let answers = [
        json!({"return": null}),
        json!({"throw": "no"}),
        json!({"return": {"statusCode": 500}}),
        json!({"refuse": "crash"}),
    ];
    for answer in answers {
        let mut client = api.dial(HandshakeBuilder::new().probe(json!({"disconnect": answer}))).await?;
        client.close(None).await?;
        api.next(EventKind::Disconnect).await?;
        api.connect().await?.expect_no_reply().await?;
    }
    Ok(())
}

async fn once(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    // Several reasons to end, at the same time.
    client
        .send(&[RawFrame::close(Some((1000, ""))), RawFrame::close(None), RawFrame::new(opcode::BINARY, "x")])
        .await?;
    if world.require_signed_calls().is_ok() {
        api.delete(&id).await?;
    }
    drop_socket(client).await;
    api.next(EventKind::Disconnect).await?;
    // Whatever else the first connection sets off would be there before the whole life of another one is over.
    let mut other = api.connect().await?;
    other.close(None).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.context("connectionId") != id, "$disconnect ran twice");
    // Whether API Gateway does so is not known.
    if world.require_local_gateway("a client that leaves during $connect").is_ok() {
        leaving_while_connecting(&api).await
    } else {
        Ok(())
    }
}

/// Whoever hangs up before the handshake's answer has been connected as far as the handler knows.
async fn leaving_while_connecting(api: &Api) -> anyhow::Result<()> {
    let slow = HandshakeBuilder::new().probe(json!({"connect": {"after": 300}}));
    let connecting = tokio::select! {
        _ = api.dial(slow) => anyhow::bail!("the handshake was answered before $connect was"),
        event = slow_connect(api) => event?,
    };
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.context("connectionId") == connecting.context("connectionId"), "{}", event.raw);
    Ok(())
}

async fn slow_connect(api: &Api) -> anyhow::Result<Event> {
    loop {
        let event = api.next(EventKind::Connect).await?;
        if event.raw.contains("after") {
            return Ok(event);
        }
    }
}

async fn post_from_handler(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let disconnect = json!({"disconnect": {"call": {"method": "POST", "body": "too late"}}});
    let mut client = api.dial(HandshakeBuilder::new().probe(disconnect)).await?;
    client.close(None).await?;
    let note = api.next(EventKind::Note).await?;
    ensure!(note.value["status"] == 410 && note.value["errorType"] == "GoneException", "{}", note.raw);
    Ok(())
}

async fn after_refusal(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusals: [Value; 3] =
        [json!({"return": {"statusCode": 403}}), json!({"throw": "no"}), json!({"return": null})];
    for connect in refusals {
        api.expect_rejection(HandshakeBuilder::new().probe(json!({"connect": connect}))).await?;
    }
    // Whatever a refusal sets off would be there before the whole life of another connection is over.
    let mut client = api.connect().await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    ensure!(api.count(EventKind::Disconnect).await? == 1, "$disconnect ran after a refusal");
    Ok(())
}

async fn timed(world: &CaseWorld, spec: ApiSpec) -> anyhow::Result<()> {
    let api = world.api(spec).await?;
    let mut client = api.connect().await?;
    client.expect_close().await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(told(&event) == (1001, "Going away"), "{}", event.raw);
    Ok(())
}

async fn deleted(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (_client, id) = api.connect_with_id().await?;
    api.delete(&id).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(told(&event) == (1000, "Connection Closed Normally"), "{}", event.raw);
    Ok(())
}

async fn lost(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    drop_socket(api.connect().await?).await;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(told(&event) == (1006, "Connection lost"), "{}", event.raw);
    Ok(())
}

async fn forbidden(world: &CaseWorld) -> anyhow::Result<()> {
    for (frame, code) in [
        (RawFrame::new(opcode::BINARY, "x"), 1003),
        (RawFrame::new(opcode::TEXT, "x".repeat(40_000)), 1009),
        (RawFrame { masked: false, ..RawFrame::new(opcode::TEXT, "x") }, 1002),
        (RawFrame::new(opcode::TEXT, [0xff]), 1007),
    ] {
        super::frames::closes(world, &[frame], code).await?;
    }
    Ok(())
}

async fn idle_or_tab(world: &CaseWorld) -> anyhow::Result<()> {
    timed(world, ApiSpec::compressed(Duration::from_millis(300), Duration::from_secs(60))).await?;
    by_client(world, Some((1001, "")), 1001, "").await
}

async fn authorizer(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let mut client =
        api.dial(HandshakeBuilder::new().probe(super::authorizers::allow(json!({"role": "admin"})))).await?;
    client.close(None).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.value["requestContext"]["authorizer"]["role"] == "admin", "{}", event.raw);
    Ok(())
}

async fn typed(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.close(Some((4000, "mine"))).await?;
    let event = api.next(EventKind::Disconnect).await?;
    let typed: ApiGatewayWebsocketProxyRequest = serde_json::from_str(&event.raw)?;
    let context = typed.request_context;
    ensure!(context.disconnect_status_code == Some(4000), "{}", event.raw);
    ensure!(context.disconnect_reason.as_deref() == Some("mine"), "{}", event.raw);
    Ok(())
}
