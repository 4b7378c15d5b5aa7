//! Cases of API keys: asked for at the handshake, and shown in every event.

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

fn asking(spec: &mut ApiSpec, source: ApiKeySource) {
    spec.definition.api_key_required = true;
    spec.definition.settings.key_source = source;
    let key = |id: &str, key| ClientKeyConfig { id: id.to_owned(), key: Secret::new(key) };
    spec.keys = vec![key("client-1", KEY), key("client-2", OTHER)];
}

async fn asking_in_header(world: &CaseWorld) -> anyhow::Result<Api> {
    world.api(ApiSpec::special("an API that asks for keys", |spec| asking(spec, ApiKeySource::Header))).await
}

fn shows(event: &Event, id: &str, key: &str) -> anyhow::Result<()> {
    let keys = event.keys("/requestContext/identity")?;
    ensure!(keys == ["apiKey", "apiKeyId", "sourceIp"], "the keys are {keys:?}");
    let identity = &event.value["requestContext"]["identity"];
    ensure!(identity["apiKey"] == key && identity["apiKeyId"] == id, "{identity}");
    Ok(())
}

/// Without a key or with an unknown one: 403, and nothing runs.
pub(super) async fn required(world: &CaseWorld) -> anyhow::Result<()> {
    let api = asking_in_header(world).await?;
    for dial in [
        HandshakeBuilder::new(),
        HandshakeBuilder::new().header("x-api-key", ""),
        HandshakeBuilder::new().header("x-api-key", "key-of-nobody"),
    ] {
        let refusal = api.expect_rejection(dial).await?;
        ensure!(refusal.head.status == 403, "the status is {}", refusal.head.status);
        let body: Value = serde_json::from_slice(&refusal.body)?;
        ensure!(body["message"] == "Forbidden", "the body is {body}");
    }
    ensure!(api.count(EventKind::Connect).await? == 0, "$connect ran");
    api.dial(HandshakeBuilder::new().header("X-API-Key", KEY)).await?.expect_no_reply().await
}

/// The key and its id are in every event of the connection.
pub(super) async fn shown(world: &CaseWorld) -> anyhow::Result<()> {
    let api = asking_in_header(world).await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new().header("x-api-key", OTHER)).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    for event in [connect, message, api.next(EventKind::Disconnect).await?] {
        shows(&event, "client-2", OTHER)?;
    }
    Ok(())
}

/// The authorizer names the key; what the client sends as one counts for nothing.
pub(super) async fn chosen_by_the_authorizer(world: &CaseWorld) -> anyhow::Result<()> {
    let mut spec = ApiSpec::authorized(&[]);
    asking(&mut spec, ApiKeySource::Authorizer);
    let api = world.api(spec).await?;
    let naming = |key: &str| {
        let mut directive = allow(json!({}));
        directive["authorizer"]["return"]["usageIdentifierKey"] = key.into();
        HandshakeBuilder::new().probe(directive)
    };
    let (_client, event) = api.connected(naming(KEY)).await?;
    shows(&event, "client-1", KEY)?;
    let unnamed = HandshakeBuilder::new().probe(allow(json!({}))).header("x-api-key", KEY);
    for dial in [naming("key-of-nobody"), unnamed] {
        let refusal = api.expect_rejection(dial).await?;
        ensure!(refusal.head.status == 403, "the status is {}", refusal.head.status);
    }
    ensure!(api.count(EventKind::Connect).await? == 1, "$connect ran without a key");
    Ok(())
}
