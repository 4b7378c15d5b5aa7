//! API keys: required by the handshake, and present in every event.

use anyhow::ensure;
use gateway::api::ApiKeySource;
use serde_json::{Value, json};
use shim::access::ClientKeyConfig;
use shim::secret::Secret;

use super::authorizers::allow;
use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

const KEY: &str = "key-of-the-first-client";
const OTHER: &str = "key-of-the-other-client";

fn require_keys(spec: &mut ApiSpec, source: ApiKeySource) {
    spec.definition.api_key_required = true;
    spec.definition.settings.key_source = source;
    let key = |id: &str, key| ClientKeyConfig { id: id.to_owned(), key: Secret::new(key) };
    spec.keys = vec![key("client-1", KEY), key("client-2", OTHER)];
}

async fn api_with_header_keys(world: &CaseWorld) -> anyhow::Result<Api> {
    world.api(ApiSpec::special("an API that requires keys", |spec| require_keys(spec, ApiKeySource::Header))).await
}

fn expect_key(event: &Event, id: &str, key: &str) -> anyhow::Result<()> {
    let keys = event.keys("/requestContext/identity")?;
    ensure!(keys == ["apiKey", "apiKeyId", "sourceIp"], "the keys are {keys:?}");
    let identity = &event.value["requestContext"]["identity"];
    ensure!(identity["apiKey"] == key && identity["apiKeyId"] == id, "{identity}");
    Ok(())
}

/// Checks that a missing or unknown key returns 403 and that no function runs.
pub(super) async fn required(world: &CaseWorld) -> anyhow::Result<()> {
    let api = api_with_header_keys(world).await?;
    for dial in [
        HandshakeBuilder::new(),
        HandshakeBuilder::new().header("x-api-key", ""),
        HandshakeBuilder::new().header("x-api-key", "unknown-key"),
    ] {
        let rejection = api.expect_rejection(dial).await?;
        ensure!(rejection.head.status == 403, "the status is {}", rejection.head.status);
        let body: Value = serde_json::from_slice(&rejection.body)?;
        ensure!(body["message"] == "Forbidden", "the body is {body}");
    }
    ensure!(api.count(EventKind::Connect).await? == 0, "$connect ran");
    api.dial(HandshakeBuilder::new().header("X-API-Key", KEY)).await?.expect_no_reply().await
}

/// Checks that the key and its id are in every event of the connection.
pub(super) async fn key_in_events(world: &CaseWorld) -> anyhow::Result<()> {
    let api = api_with_header_keys(world).await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new().header("x-api-key", OTHER)).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    for event in [connect, message, api.next(EventKind::Disconnect).await?] {
        expect_key(&event, "client-2", OTHER)?;
    }
    Ok(())
}

/// Checks that the authorizer selects the key and that a key sent by the client is ignored.
pub(super) async fn key_selected_by_authorizer(world: &CaseWorld) -> anyhow::Result<()> {
    let mut spec = ApiSpec::authorized(&[]);
    require_keys(&mut spec, ApiKeySource::Authorizer);
    let api = world.api(spec).await?;
    let dial_with_key = |key: &str| {
        let mut directive = allow(json!({}));
        directive["authorizer"]["return"]["usageIdentifierKey"] = key.into();
        HandshakeBuilder::new().probe(directive)
    };
    let (_client, event) = api.connected(dial_with_key(KEY)).await?;
    expect_key(&event, "client-1", KEY)?;
    let without_key = HandshakeBuilder::new().probe(allow(json!({}))).header("x-api-key", KEY);
    for dial in [dial_with_key("unknown-key"), without_key] {
        let rejection = api.expect_rejection(dial).await?;
        ensure!(rejection.head.status == 403, "the status is {}", rejection.head.status);
    }
    ensure!(api.count(EventKind::Connect).await? == 1, "$connect ran without a key");
    Ok(())
}
