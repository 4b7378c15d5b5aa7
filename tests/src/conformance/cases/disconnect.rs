//! DC-1 to DC-12 and the table of section 6: invocations of `$disconnect` and their events.

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
        "`$disconnect` runs after either side closed the connection, on a best-effort basis.",
        "the same",
        |world| either_side(world).boxed(),
    ),
    ConformanceRow::holds("DC-2", Documented, "The result of `$disconnect` is ignored.", SAME_BEHAVIOR, |world| {
        result_ignored(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-3",
        Reported,
        "After a close frame it runs at once, otherwise when the loss is detected.",
        "the same; a TCP reset or FIN is detected at once",
        |world| either_side(world).boxed(),
    ),
    ConformanceRow::holds("DC-4", Inferred, "It runs at most once per connection.", "exactly once", |world| {
        once(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-5",
        Documented,
        "The connection no longer exists: a post from the handler returns 410.",
        SAME_BEHAVIOR,
        |world| post_from_handler(world).boxed(),
    ),
    ConformanceRow::holds(
        "DC-6",
        Inferred,
        "It does not run after a rejected `$connect` (one report of 2019 disagrees).",
        "it does not run",
        |world| after_rejection(world).boxed(),
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
        "the same; the case uses 300 ms",
        |world| timed(world, ApiSpec::with_timers(Duration::from_millis(300), Duration::from_secs(60))).boxed(),
    ),
    ConformanceRow::holds(
        "6-5",
        Inferred,
        "End of the 2-hour lifetime: 1001 `Going away`.",
        "the same; the case uses 300 ms",
        |world| timed(world, ApiSpec::with_timers(Duration::from_secs(60), Duration::from_millis(300))).boxed(),
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
        "The network breaks without a close frame: presumably 1006, with an unknown text.",
        "1006 `Connection lost`",
        |world| lost(world).boxed(),
    ),
    ConformanceRow::holds(
        "6-8",
        Inferred,
        "A binary frame or too large a message: presumably 1003 or 1009, with unknown texts.",
        "the same codes, with the text of the close frame",
        |world| forbidden(world).boxed(),
    ),
    ConformanceRow::holds(
        "DC-10",
        Reported,
        "The code 1001 is the same for an idle connection and a closed tab; only the reason differs.",
        SAME_BEHAVIOR,
        |world| idle_or_tab(world).boxed(),
    ),
    ConformanceRow::holds("DC-11", Reported, "`authorizer` is part of the event.", SAME_BEHAVIOR, |world| {
        authorizer(world).boxed()
    }),
    ConformanceRow::holds(
        "DC-12",
        Reported,
        "The event types of some language runtimes long lacked code and reason.",
        "the public Rust type has both, and parses the shim's event",
        |world| typed(world).boxed(),
    ),
];

fn status_and_reason(event: &Event) -> (i64, &str) {
    (event.number("disconnectStatusCode"), event.context("disconnectReason"))
}

async fn by_client(world: &CaseWorld, status: Option<(u16, &str)>, code: i64, reason: &str) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.close(status).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(status_and_reason(&event) == (code, reason), "{}", event.raw);
    Ok(())
}

async fn code_and_reason(world: &CaseWorld) -> anyhow::Result<()> {
    for (code, reason) in [(1000, "bye"), (3000, ""), (4000, "mine"), (4999, "äöü \"quoted\"")] {
        by_client(world, Some((code, reason)), code.into(), reason).await?;
    }
    Ok(())
}

/// Drops a client's socket without a close frame.
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

async fn result_ignored(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let results = [
        json!({"return": null}),
        json!({"throw": "no"}),
        json!({"return": {"statusCode": 500}}),
        json!({"refuse": "crash"}),
    ];
    for answer in results {
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
    // Several reasons to close, at the same time.
    client
        .send(&[RawFrame::close(Some((1000, ""))), RawFrame::close(None), RawFrame::new(opcode::BINARY, "x")])
        .await?;
    if world.require_signed_calls().is_ok() {
        api.delete(&id).await?;
    }
    drop_socket(client).await;
    api.next(EventKind::Disconnect).await?;
    // A second $disconnect of the first connection would have run within the life of another connection.
    let mut other = api.connect().await?;
    other.close(None).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.context("connectionId") != id, "$disconnect ran twice");
    // The behaviour of API Gateway is unknown.
    if world.require_local_gateway("a client that leaves during $connect").is_ok() {
        disconnecting_during_connect(&api).await
    } else {
        Ok(())
    }
}

/// Checks that a client that disconnects before the handshake response gets a `$disconnect`, since `$connect` has
/// run.
async fn disconnecting_during_connect(api: &Api) -> anyhow::Result<()> {
    let slow = HandshakeBuilder::new().probe(json!({"connect": {"after": 300}}));
    let connect = tokio::select! {
        _ = api.dial(slow) => anyhow::bail!("the handshake completed before $connect"),
        event = slow_connect(api) => event?,
    };
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(event.context("connectionId") == connect.context("connectionId"), "{}", event.raw);
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

async fn after_rejection(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejections: [Value; 3] =
        [json!({"return": {"statusCode": 403}}), json!({"throw": "no"}), json!({"return": null})];
    for connect in rejections {
        api.expect_rejection(HandshakeBuilder::new().probe(json!({"connect": connect}))).await?;
    }
    // A $disconnect after a rejection would have run within the life of another connection.
    let mut client = api.connect().await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    ensure!(api.count(EventKind::Disconnect).await? == 1, "$disconnect ran after a rejection");
    Ok(())
}

async fn timed(world: &CaseWorld, spec: ApiSpec) -> anyhow::Result<()> {
    let api = world.api(spec).await?;
    let mut client = api.connect().await?;
    client.expect_close().await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(status_and_reason(&event) == (1001, "Going away"), "{}", event.raw);
    Ok(())
}

async fn deleted(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (_client, id) = api.connect_with_id().await?;
    api.delete(&id).await?;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(status_and_reason(&event) == (1000, "Connection Closed Normally"), "{}", event.raw);
    Ok(())
}

async fn lost(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    drop_socket(api.connect().await?).await;
    let event = api.next(EventKind::Disconnect).await?;
    ensure!(status_and_reason(&event) == (1006, "Connection lost"), "{}", event.raw);
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
    timed(world, ApiSpec::with_timers(Duration::from_millis(300), Duration::from_secs(60))).await?;
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
