//! IDN-1 to IDN-6 and AUTHZ-1 to AUTHZ-6: identity of the client, and context of the authorizer.

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use super::authorizers::allow;
use super::context::one_of_each;
use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "IDN-1",
        Reported,
        "`identity` has `sourceIp`, preceded by `userAgent` if the client sent one.",
        SAME_BEHAVIOR,
        |world| agent_and_address(world).boxed(),
    ),
    ConformanceRow::holds(
        "IDN-2",
        Reported,
        "`userAgent` is repeated on MESSAGE and DISCONNECT.",
        SAME_BEHAVIOR,
        |world| agent_repeated(world).boxed(),
    ),
    ConformanceRow::holds(
        "IDN-3",
        Reported,
        "With an API key on `$connect`, `identity` adds `apiKey` and `apiKeyId`.",
        SAME_BEHAVIOR,
        |world| super::keys::key_in_events(world).boxed(),
    ),
    ConformanceRow::holds(
        "IDN-4",
        Documented,
        "With IAM authorization `identity` can contain account, caller, user, ARN, access key and organization.",
        "all except the organization; Cognito fields are absent, because neither is supported",
        |world| super::signatures::identity(world).boxed(),
    ),
    ConformanceRow::holds(
        "IDN-5",
        Reported,
        "Events since about 2022 omit unknown fields instead of sending `null`.",
        SAME_BEHAVIOR,
        |world| no_nulls(world).boxed(),
    ),
    ConformanceRow::holds(
        "IDN-6",
        Documented,
        "`sourceIp` is the TCP peer of the gateway, whatever headers the client sends.",
        "the same, unless a trusted proxy is configured: then its `X-Forwarded-For` is used",
        |world| peer(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-1",
        Reported,
        "`authorizer` contains the context's keys, then `principalId`, then `integrationLatency` as a number.",
        SAME_BEHAVIOR,
        |world| flattened(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-2",
        Reported,
        "`authorizer` is on CONNECT, MESSAGE and DISCONNECT.",
        SAME_BEHAVIOR,
        |world| on_every_event(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-3",
        Documented,
        "Context values are strings, numbers or booleans.",
        "the same; `null` values are omitted",
        |world| scalars(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-4",
        Unknown,
        "Whether events convert numbers and booleans of the context to strings is unknown.",
        "they keep their JSON type, as in REST captures",
        |world| scalars(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-5",
        Documented,
        "There is no `claims` or `jwt` object: WebSocket APIs have no such authorizers.",
        SAME_BEHAVIOR,
        |world| no_claims(world).boxed(),
    ),
    ConformanceRow::holds(
        "AUTHZ-6",
        Reported,
        "Without an authorizer the key `authorizer` is absent.",
        SAME_BEHAVIOR,
        |world| absent(world).boxed(),
    ),
];

async fn agent_and_address(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new()).await?;
    ensure!(event.keys("/requestContext/identity")? == ["sourceIp"], "{}", event.raw);
    let (_client, event) = api.connected(HandshakeBuilder::new().header("User-Agent", "probe/1")).await?;
    ensure!(event.keys("/requestContext/identity")? == ["userAgent", "sourceIp"], "{}", event.raw);
    ensure!(event.value["requestContext"]["identity"]["userAgent"] == "probe/1", "{}", event.raw);
    Ok(())
}

async fn agent_repeated(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new().header("User-Agent", "probe/1")).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    for event in [message, api.next(EventKind::Disconnect).await?] {
        let identity = &event.value["requestContext"]["identity"];
        ensure!(*identity == connect.value["requestContext"]["identity"], "{}", event.raw);
    }
    Ok(())
}

async fn no_nulls(world: &CaseWorld) -> anyhow::Result<()> {
    for event in one_of_each(world).await? {
        ensure!(!has_null(&event.value), "{}", event.raw);
    }
    Ok(())
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

async fn peer(world: &CaseWorld) -> anyhow::Result<()> {
    let source = |event: &Event| event.value["requestContext"]["identity"]["sourceIp"].clone();
    let api = world.standard().await?;
    let (_client, plain) = api.connected(HandshakeBuilder::new()).await?;
    let (_client, claimed) = api.connected(HandshakeBuilder::new().header("X-Forwarded-For", "203.0.113.7")).await?;
    ensure!(source(&plain) == source(&claimed), "the client's header changed sourceIp: {}", claimed.raw);
    Ok(())
}

/// Returns the CONNECT event after an authorizer returned this context.
async fn with_context(world: &CaseWorld, context: Value) -> anyhow::Result<Event> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().probe(allow(context))).await?;
    Ok(event)
}

async fn flattened(world: &CaseWorld) -> anyhow::Result<()> {
    let event = with_context(world, json!({"role": "admin", "tenant": "acme"})).await?;
    let keys = event.keys("/requestContext/authorizer")?;
    ensure!(keys == ["role", "tenant", "principalId", "integrationLatency"], "the keys are {keys:?}");
    let authorizer = &event.value["requestContext"]["authorizer"];
    ensure!(authorizer["principalId"] == "alice" && authorizer["role"] == "admin", "{authorizer}");
    ensure!(authorizer["integrationLatency"].is_u64(), "{authorizer}");
    Ok(())
}

async fn on_every_event(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new().probe(allow(json!({"role": "admin"})))).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    for event in [message, api.next(EventKind::Disconnect).await?] {
        let authorizer = &event.value["requestContext"]["authorizer"];
        ensure!(*authorizer == connect.value["requestContext"]["authorizer"], "{}", event.raw);
        ensure!(authorizer["role"] == "admin", "{}", event.raw);
    }
    Ok(())
}

async fn scalars(world: &CaseWorld) -> anyhow::Result<()> {
    let event = with_context(world, json!({"text": "1", "number": 1, "flag": true, "nothing": null})).await?;
    let authorizer = &event.value["requestContext"]["authorizer"];
    ensure!(authorizer["text"] == "1" && authorizer["number"] == 1 && authorizer["flag"] == true, "{authorizer}");
    ensure!(authorizer.get("nothing").is_none(), "{authorizer}");
    Ok(())
}

async fn no_claims(world: &CaseWorld) -> anyhow::Result<()> {
    let event = with_context(world, json!({})).await?;
    let keys = event.keys("/requestContext/authorizer")?;
    ensure!(keys == ["principalId", "integrationLatency"], "the keys are {keys:?}");
    Ok(())
}

async fn absent(world: &CaseWorld) -> anyhow::Result<()> {
    for event in one_of_each(world).await? {
        ensure!(!event.has("/requestContext/authorizer"), "{}", event.raw);
    }
    Ok(())
}
