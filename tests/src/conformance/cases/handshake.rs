//! CON-1 to CON-13 and the table of section 2.2: handshake responses for each result of `$connect`.

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
        "Authorizer, then `$connect`, then `101`: the `101` is sent after `$connect` has succeeded.",
        SAME_BEHAVIOR,
        |world| response_after_connect(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-2",
        Documented,
        "Authorization happens at connect only, not for messages or `$disconnect`.",
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
        "A connection accepts no posts before its `101`: a post from `$connect` returns 410.",
        SAME_BEHAVIOR,
        |world| post_during_connect(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-5",
        Documented,
        "Only `$connect` is synchronous for the client; later integrations are visible only through frames.",
        SAME_BEHAVIOR,
        |world| silent_messages(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-10",
        Reported,
        "The client receives neither the body of the `$connect` response nor any header except the subprotocol.",
        SAME_BEHAVIOR,
        |world| body_and_headers(ApiSpec::standard(), world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-11",
        Unknown,
        "Sources disagree whether a route response on `$connect` sends its body to the client.",
        "it never does",
        |world| connect_route_response(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-12",
        Reported,
        "A rejected handshake is a plain HTTP response without a close frame.",
        SAME_BEHAVIOR,
        |world| plain_rejection(world).boxed(),
    ),
    ConformanceRow::holds(
        "CON-13",
        Unknown,
        "The body of a rejected handshake is unknown.",
        "JSON in the form of the error frames: message, connection id, request id",
        |world| rejection_body(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-1",
        Reported,
        "`$connect` returns 2xx: the client receives `101`.",
        SAME_BEHAVIOR,
        |world| accepted(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-2",
        Documented,
        "`$connect` returns another status: the client receives that status.",
        "the same for 300 to 599; other numbers are not a proxy response (502)",
        |world| status_forwarded(world).boxed(),
    ),
    ConformanceRow::holds("2.2-3", Reported, "`$connect` throws: the client receives 502.", SAME_BEHAVIOR, |world| {
        expect_status(world, json!({"throw": "no"}), 502).boxed()
    }),
    ConformanceRow::not_runnable(
        "2.2-4",
        Reported,
        "The function of `$connect` cannot be loaded: the client receives 502.",
        "a function that does not load is a function error, as in the previous row",
        "in-process handlers have no loading step",
    ),
    ConformanceRow::holds(
        "2.2-5",
        Documented,
        "`$connect` returns `null` or something that is not a proxy response: the client receives 502.",
        SAME_BEHAVIOR,
        |world| malformed(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-6",
        Inferred,
        "`$connect` exceeds the integration timeout of 29 s: the client receives 504.",
        "the same; the case uses 200 ms",
        |world| timed_out(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.2-7",
        Inferred,
        "The gateway may not invoke the function: the client receives 500.",
        SAME_BEHAVIOR,
        |world| expect_status(world, json!({"refuse": "not_invokable"}), 500).boxed(),
    ),
    ConformanceRow::holds("2.2-8", Unknown, "Lambda throttles `$connect`: an unknown 5xx status.", "500", |world| {
        expect_status(world, json!({"refuse": "throttled"}), 500).boxed()
    }),
    ConformanceRow::holds(
        "2.2-9",
        Inferred,
        "No `$connect` route: the client receives `101`.",
        SAME_BEHAVIOR,
        |world| no_connect_route(world).boxed(),
    ),
];

/// Returns a handshake with a directive for `$connect`.
fn with_connect_directive(result: Value) -> HandshakeBuilder {
    HandshakeBuilder::new().probe(json!({"connect": result}))
}

async fn response_after_connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let started = Instant::now();
    let (_client, _event) = api.connected(with_connect_directive(json!({"after": 300}))).await?;
    ensure!(started.elapsed() >= Duration::from_millis(290), "the 101 arrived after {:?}", started.elapsed());
    let rejection =
        api.expect_rejection(with_connect_directive(json!({"after": 50, "return": {"statusCode": 400}}))).await?;
    ensure!(rejection.head.status == 400);
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
    let mut client = api.dial(with_connect_directive(json!({"call": {"method": "POST", "body": "too early"}}))).await?;
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
    let result = json!({"statusCode": 200, "body": "hello", "headers": {
        "Set-Cookie": "a=1", "X-Other": "1", "Sec-WebSocket-Protocol": "chat"}});
    let dial = with_connect_directive(json!({"return": result})).header("Sec-WebSocket-Protocol", "chat");
    let mut client = api.dial(dial).await?;
    ensure!(client.head.header("sec-websocket-protocol") == Some("chat"), "{:?}", client.head);
    for name in ["set-cookie", "x-other", "content-type"] {
        ensure!(client.head.header(name).is_none(), "{name} was forwarded: {:?}", client.head);
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

async fn plain_rejection(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejection = api.expect_rejection(with_connect_directive(json!({"return": {"statusCode": 401}}))).await?;
    ensure!(rejection.head.status_line == "HTTP/1.1 401 Unauthorized", "{:?}", rejection.head);
    for name in ["upgrade", "sec-websocket-accept"] {
        ensure!(rejection.head.header(name).is_none(), "{:?}", rejection.head);
    }
    ensure!(!rejection.body.starts_with(&[0x88]), "a close frame was sent");
    Ok(())
}

async fn rejection_body(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejection =
        api.expect_rejection(with_connect_directive(json!({"return": {"statusCode": 403, "body": "secret"}}))).await?;
    let event = api.next(EventKind::Connect).await?;
    let body: Value = serde_json::from_slice(&rejection.body)?;
    ensure!(body["message"] == "Forbidden" && body["connectionId"] == event.context("connectionId"), "{body}");
    ensure!(rejection.head.header("content-type") == Some("application/json"), "{:?}", rejection.head);
    Ok(())
}

async fn accepted(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for status in [200, 201, 204, 299] {
        api.dial(with_connect_directive(json!({"return": {"statusCode": status}}))).await?;
    }
    Ok(())
}

async fn status_forwarded(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for status in [301, 400, 401, 403, 404, 418, 500, 501, 503] {
        let rejection = api.expect_rejection(with_connect_directive(json!({"return": {"statusCode": status}}))).await?;
        ensure!(rejection.head.status == status, "{status} became {}", rejection.head.status);
    }
    Ok(())
}

async fn expect_status(world: &CaseWorld, result: Value, status: u16) -> anyhow::Result<()> {
    let api = world.standard().await?;
    if result.get("refuse").is_some() {
        world.require_in_process_probes("a function that the gateway cannot invoke")?;
    }
    let rejection = api.expect_rejection(with_connect_directive(result)).await?;
    ensure!(rejection.head.status == status, "the status is {}", rejection.head.status);
    Ok(())
}

async fn malformed(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let results =
        [json!(null), json!("ok"), json!([]), json!({"statusCode": 200, "extra": 1}), json!({"statusCode": "x"})];
    for result in results {
        let rejection = api.expect_rejection(with_connect_directive(json!({"return": result}))).await?;
        ensure!(rejection.head.status == 502, "{result} returned {}", rejection.head.status);
    }
    Ok(())
}

async fn timed_out(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("shorter timeouts", |spec| {
        spec.definition.quotas.integration_timeout = Duration::from_millis(200);
    });
    let api = world.api(spec).await?;
    let rejection = api.expect_rejection(with_connect_directive(json!({"after": 2000}))).await?;
    ensure!(rejection.head.status == 504, "the status is {}", rejection.head.status);
    Ok(())
}
