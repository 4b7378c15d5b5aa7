//! CON-1 to CON-13 and the table of section 2.2: what the result of `$connect` means for the handshake.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::FutureExt as _;
use gateway::route::{RouteKey, RouteResponse};
use serde_json::{Value, json};

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "CON-1",
        Documented,
        "Authorizer, then `$connect`, then `101`: the `101` is withheld until `$connect` has succeeded.",
        SAME_BEHAVIOR,
        |world| withheld(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-2",
        Documented,
        "Authorization happens at connect only; messages and the end are not authorized again.",
        SAME_BEHAVIOR,
        |world| super::authorizers::once(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-3",
        Documented,
        "Without a `$connect` route the upgrade succeeds.",
        SAME_BEHAVIOR,
        |world| no_connect_route(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-4",
        Documented,
        "A connection takes no posts before its `101`: one from inside `$connect` is answered 410.",
        SAME_BEHAVIOR,
        |world| post_during_connect(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-5",
        Documented,
        "Only `$connect` is synchronous for the client; of later integrations it sees nothing unless a frame is sent.",
        SAME_BEHAVIOR,
        |world| silent_messages(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-10",
        Reported,
        "Of the answer of `$connect` the client gets neither the body nor any header but the subprotocol.",
        SAME_BEHAVIOR,
        |world| body_and_headers(ApiSpec::standard(), world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-11",
        Unknown,
        "Sources disagree whether a route response on `$connect` makes its body reach the client.",
        "it never does",
        |world| connect_route_response(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-12",
        Reported,
        "A refused handshake is a plain HTTP response; no close frame is involved.",
        SAME_BEHAVIOR,
        |world| plain_refusal(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-13",
        Unknown,
        "The body of a refused handshake is not known.",
        "JSON in the form of the error frames: message, connection id, request id",
        |world| refusal_body(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-1",
        Reported,
        "`$connect` answers 2xx: the client sees `101`.",
        SAME_BEHAVIOR,
        |world| accepted(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-2",
        Documented,
        "`$connect` answers another status: the client sees that status.",
        "the same for 300 to 599; other numbers are no proxy response (502)",
        |world| passed_on(world).boxed(),
    ),
    ConformanceRow::holds("2.2-3", Reported, "`$connect` throws: the client sees 502.", SAME_BEHAVIOR, |world| {
        answered(world, json!({"throw": "no"}), 502).boxed()
    }),
    ConformanceRow::not_runnable(
        "2.2-4",
        Reported,
        "The function of `$connect` cannot be loaded: the client sees 502.",
        "a function that does not load is a function error, as in the row before",
        "handlers in the gateway's process have no loading step of their own",
    ),
    ConformanceRow::holds(
        "2.2-5",
        Documented,
        "`$connect` answers `null` or something that is no proxy response: the client sees 502.",
        SAME_BEHAVIOR,
        |world| malformed(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-6",
        Inferred,
        "`$connect` runs into the integration timeout of 29 s: the client sees 504.",
        "the same; here the 29 s are 200 ms",
        |world| timed_out(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-7",
        Inferred,
        "The function may not be invoked: the client sees 500.",
        SAME_BEHAVIOR,
        |world| answered(world, json!({"refuse": "not_invokable"}), 500).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-8",
        Unknown,
        "Lambda throttles `$connect`: a status of 5xx, which one is not known.",
        "500",
        |world| answered(world, json!({"refuse": "throttled"}), 500).boxed(),
    ),
    ConformanceRow::holds("2.2-9", Inferred, "No `$connect` route: the client sees `101`.", SAME_BEHAVIOR, |world| {
        no_connect_route(world).boxed()
    }),
];

/// A handshake whose `$connect` does as told.
fn told(answer: Value) -> HandshakeBuilder {
    HandshakeBuilder::new().probe(json!({"connect": answer}))
}

async fn withheld(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let begun = Instant::now();
    let (_client, _event) = api.connected(told(json!({"after": 300}))).await?;
    ensure!(begun.elapsed() >= Duration::from_millis(290), "the 101 came after {:?}", begun.elapsed());
    let refusal = api.expect_rejection(told(json!({"after": 50, "return": {"statusCode": 400}}))).await?;
    ensure!(refusal.head.status == 400);
    Ok(())
}

async fn no_connect_route(world: &CaseWorld) -> anyhow::Result<()> {
    let api =
        world.api(ApiSpec::special("an API without a $connect route", |spec| spec.remove(RouteKey::CONNECT))).await?;
    let mut client = api.connect().await?;
    client.expect_no_reply().await?;
    ensure!(api.count(EventKind::Connect).await? == 0, "$connect ran");
    Ok(())
}

async fn post_during_connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.dial(told(json!({"call": {"method": "POST", "body": "too early"}}))).await?;
    let note = api.next(EventKind::Note).await?;
    ensure!(note.value["status"] == 410 && note.value["errorType"] == "GoneException", "{}", note.raw);
    client.expect_no_reply().await
}

async fn silent_messages(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send_directive(json!({"return": {"statusCode": 200, "body": "not for the client"}})).await?;
    api.next(EventKind::Message).await?;
    client.expect_no_reply().await
}

async fn body_and_headers(spec: ApiSpec, world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(spec).await?;
    let answer = json!({"statusCode": 200, "body": "hello", "headers": {
        "Set-Cookie": "a=1", "X-Other": "1", "Sec-WebSocket-Protocol": "chat"}});
    let dial = told(json!({"return": answer})).header("Sec-WebSocket-Protocol", "chat");
    let mut client = api.dial(dial).await?;
    ensure!(client.head.header("sec-websocket-protocol") == Some("chat"), "{:?}", client.head);
    for name in ["set-cookie", "x-other", "content-type"] {
        ensure!(client.head.header(name).is_none(), "{name} came through: {:?}", client.head);
    }
    client.expect_no_reply().await
}

async fn connect_route_response(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("an API with a route response on $connect", |spec| {
        spec.remove(RouteKey::CONNECT);
        spec.add(RouteKey::CONNECT, RouteResponse::TwoWay);
    });
    body_and_headers(spec, world).await
}

async fn plain_refusal(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.expect_rejection(told(json!({"return": {"statusCode": 401}}))).await?;
    ensure!(refusal.head.status_line == "HTTP/1.1 401 Unauthorized", "{:?}", refusal.head);
    for name in ["upgrade", "sec-websocket-accept"] {
        ensure!(refusal.head.header(name).is_none(), "{:?}", refusal.head);
    }
    ensure!(!refusal.body.starts_with(&[0x88]), "a close frame came");
    Ok(())
}

async fn refusal_body(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.expect_rejection(told(json!({"return": {"statusCode": 403, "body": "secret"}}))).await?;
    let event = api.next(EventKind::Connect).await?;
    let body: Value = serde_json::from_slice(&refusal.body)?;
    ensure!(body["message"] == "Forbidden" && body["connectionId"] == event.context("connectionId"), "{body}");
    ensure!(refusal.head.header("content-type") == Some("application/json"), "{:?}", refusal.head);
    Ok(())
}

async fn accepted(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for status in [200, 201, 204, 299] {
        api.dial(told(json!({"return": {"statusCode": status}}))).await?;
    }
    Ok(())
}

async fn passed_on(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for status in [301, 400, 401, 403, 404, 418, 500, 501, 503] {
        let refusal = api.expect_rejection(told(json!({"return": {"statusCode": status}}))).await?;
        ensure!(refusal.head.status == status, "{status} became {}", refusal.head.status);
    }
    Ok(())
}

async fn answered(world: &CaseWorld, answer: Value, status: u16) -> anyhow::Result<()> {
    let api = world.standard().await?;
    if answer.get("refuse").is_some() {
        world.require_in_process_probes("a function that the gateway cannot invoke")?;
    }
    let refusal = api.expect_rejection(told(answer)).await?;
    ensure!(refusal.head.status == status, "the status is {}", refusal.head.status);
    Ok(())
}

async fn malformed(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let answers =
        [json!(null), json!("ok"), json!([]), json!({"statusCode": 200, "extra": 1}), json!({"statusCode": "x"})];
    for answer in answers {
        let refusal = api.expect_rejection(told(json!({"return": answer}))).await?;
        ensure!(refusal.head.status == 502, "{answer} was answered {}", refusal.head.status);
    }
    Ok(())
}

async fn timed_out(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a compressed clock", |spec| {
        spec.definition.quotas.integration_timeout = Duration::from_millis(200);
    });
    let api = world.api(spec).await?;
    let refusal = api.expect_rejection(told(json!({"after": 2000}))).await?;
    ensure!(refusal.head.status == 504, "the status is {}", refusal.head.status);
    Ok(())
}
