//! EV-1 to EV-6: keys of each event, compared with captures.

use anyhow::ensure;
use aws_lambda_events::apigw::{ApiGatewayCustomAuthorizerRequestTypeRequest, ApiGatewayWebsocketProxyRequest};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind, shape};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

const CONNECT: &str = include_str!("../../../../shim/gateway/fixtures/connect.json");
const MESSAGE: &str = include_str!("../../../../shim/gateway/fixtures/message.json");
const DISCONNECT: &str = include_str!("../../../../shim/gateway/fixtures/disconnect.json");
const AUTHORIZER: &str = include_str!("../../../../shim/gateway/fixtures/authorizer.json");
const EXTENSIONS: &str = "permessage-deflate; client_max_window_bits";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "EV-1",
        Documented,
        "CONNECT and DISCONNECT carry headers, context and `isBase64Encoded`, in a fixed key order, and no body.",
        "the same bytes as the captures of November 2024, except for ids, times and addresses",
        |world| connect_and_disconnect(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-2",
        Reported,
        "MESSAGE carries context, body and `isBase64Encoded`, and no headers.",
        "the same bytes as the capture, except for ids, times and addresses",
        |world| message(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-3",
        Reported,
        "Without a query a CONNECT event has no query keys, neither `null` nor empty.",
        SAME_BEHAVIOR,
        |world| no_query(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-4",
        Documented,
        "The authorizer's request has empty objects for query, multi-value query and stage variables.",
        "the same bytes as the capture of January 2025, except for ids, times and addresses",
        |world| authorizer(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-5",
        Reported,
        "`httpMethod`, `path`, `resource`, `pathParameters` and `version` appear on no event.",
        SAME_BEHAVIOR,
        |world| no_http(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-6",
        Inferred,
        "Events carry `stageVariables` when the stage defines any.",
        SAME_BEHAVIOR,
        |world| stage_variables(world).boxed(),
    ),
];

async fn connect_and_disconnect(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a client without a query, which a remote probe needs to report its events")?;
    let api = world.standard().await?;
    let (mut client, connect) =
        api.connected(HandshakeBuilder::new().header("Sec-WebSocket-Extensions", EXTENSIONS)).await?;
    client.close(None).await?;
    expect_capture(&connect, CONNECT)?;
    let disconnect = api.next(EventKind::Disconnect).await?;
    expect_capture(&disconnect, DISCONNECT)?;
    for event in [connect, disconnect] {
        serde_json::from_str::<ApiGatewayWebsocketProxyRequest>(&event.raw)?;
    }
    Ok(())
}

async fn message(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send_text("{\"action\": \"chat\", \"message\": \"Hello from client\"}").await?;
    let message = api.next(EventKind::Message).await?;
    expect_capture(&message, MESSAGE)?;
    let typed: ApiGatewayWebsocketProxyRequest = serde_json::from_str(&message.raw)?;
    ensure!(typed.body.as_deref() == message.value["body"].as_str());
    Ok(())
}

async fn no_query(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a client without a query, which a remote probe needs to report its events")?;
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new()).await?;
    for key in ["queryStringParameters", "multiValueQueryStringParameters", "stageVariables", "body"] {
        ensure!(!event.has(&format!("/{key}")), "{key} must be absent: {}", event.raw);
    }
    let (_client, event) = api.connected(HandshakeBuilder::new().query("")).await?;
    ensure!(!event.has("/queryStringParameters"), "a lone '?' is not a query: {}", event.raw);
    Ok(())
}

async fn authorizer(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&["route.request.header.Authorization"])).await?;
    // No directive allows the connection, because the query must stay empty.
    let dial = HandshakeBuilder::new().header("Authorization", "Leo").header("Sec-WebSocket-Extensions", EXTENSIONS);
    api.expect_rejection(dial).await?;
    let event = api.next(EventKind::Authorizer).await?;
    let captured = AUTHORIZER.replace("production", "prod");
    expect_capture(&event, &captured)?;
    let arn = event.value["methodArn"].as_str().unwrap_or_default();
    ensure!(arn == "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$connect", "methodArn is {arn}");
    serde_json::from_str::<ApiGatewayCustomAuthorizerRequestTypeRequest>(&event.raw)?;
    Ok(())
}

async fn no_http(world: &CaseWorld) -> anyhow::Result<()> {
    for event in super::context::one_of_each(world).await? {
        for key in ["httpMethod", "path", "resource", "pathParameters", "version"] {
            ensure!(!event.has(&format!("/{key}")), "{key} must be absent: {}", event.raw);
            ensure!(!event.has(&format!("/requestContext/{key}")), "{key} must be absent: {}", event.raw);
        }
    }
    Ok(())
}

async fn stage_variables(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a stage with variables", |spec| {
        spec.definition.stage_variables.insert("table".to_owned(), "messages".to_owned());
    });
    let api = world.api(spec).await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new()).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    for event in [connect, message, api.next(EventKind::Disconnect).await?] {
        ensure!(event.value["stageVariables"] == json!({"table": "messages"}), "{}", event.raw);
    }
    Ok(())
}

/// Checks that an event equals the capture, except for ids, times and addresses.
fn expect_capture(event: &Event, capture: &str) -> anyhow::Result<()> {
    let (seen, captured) = (shape(&event.raw)?, shape(capture.trim_end())?);
    ensure!(seen == captured, "the event\n  {seen}\nis not the capture\n  {captured}");
    Ok(())
}
