//! Rate limits: new connections, requests of every kind, single routes.
//!
//! The token buckets hold a few tokens and are practically never refilled, so that no case depends on its own speed.

use anyhow::ensure;
use gateway::quotas::{Quotas, RateLimit};
use serde_json::{Value, json};

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

/// Returns a limit of `burst` requests without a refill.
const fn burst_only(burst: u32) -> RateLimit {
    RateLimit { per_second: 0, burst }
}

/// Checks that new connections above the rate get 429 without an invocation, and that open ones are unaffected.
pub(super) async fn connections(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a rate limit", |spec| spec.definition.quotas.connect_rate = Some(burst_only(2)));
    let api = world.api(spec).await?;
    let (mut first, mut second) = (api.connect().await?, api.connect().await?);
    let rejection = api.expect_rejection(HandshakeBuilder::new()).await?;
    ensure!(rejection.head.status == 429, "the status is {}", rejection.head.status);
    let body: Value = serde_json::from_slice(&rejection.body)?;
    ensure!(body["message"] == "Too Many Requests", "the body is {body}");
    ensure!(api.count(EventKind::Connect).await? == 2, "$connect ran for a connection above the rate");
    first.expect_no_reply().await?;
    second.expect_no_reply().await
}

/// Checks the rate of new connections.
pub(super) async fn connections_per_second(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a check of the configured quotas")?;
    ensure!(Quotas::aws_profile().connect_rate.is_some_and(|rate| rate.per_second == 500), "another rate");
    connections(world).await
}

/// Checks that handshakes, messages and `@connections` calls share one bucket, and the error of each.
pub(super) async fn requests(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a check of the configured quotas")?;
    ensure!(Quotas::aws_profile().request_rate == Some(RateLimit { per_second: 10_000, burst: 5_000 }), "another rate");
    let spec = ApiSpec::special("a rate limit", |spec| spec.definition.quotas.request_rate = Some(burst_only(3)));
    let api = world.api(spec).await?;
    let (mut client, id) = api.connect_with_id().await?;
    client.expect_no_reply().await?;
    ensure!(api.post(&id, "x").await?.head.status == 200, "a call within the rate was rejected");
    ensure!(client.text().await? == "x");

    let frame: Value = serde_json::from_str(&client.request_directive(json!({})).await?)?;
    ensure!(frame["message"] == "Too Many Requests", "the frame is {frame}");
    let reply = api.post(&id, "y").await?;
    ensure!(reply.error() == (429, Some("LimitExceededException")), "the reply is {:?}", reply.error());
    ensure!(reply.body.is_empty(), "the body is {:?}", reply.text());
    let rejection = api.expect_rejection(HandshakeBuilder::new()).await?;
    ensure!(rejection.head.status == 429, "the status is {}", rejection.head.status);
    Ok(())
}

/// Checks that a message above the rate of its route gets an error frame without an invocation.
pub(super) async fn route(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a route with a rate limit", |spec| {
        spec.definition.settings.rates.insert("chat".to_owned(), burst_only(1));
    });
    let api = world.api(spec).await?;
    let (mut client, id) = api.connect_with_id().await?;
    for _ in 0..2 {
        client.send_json(&json!({"action": "chat"})).await?;
    }
    let frame = client.text().await?;
    let request = serde_json::from_str::<Value>(&frame)?["requestId"].as_str().unwrap_or_default().to_owned();
    let expected = format!(r#"{{"message": "Too Many Requests", "connectionId":"{id}", "requestId":"{request}"}}"#);
    ensure!(frame == expected, "the frame is {frame}");
    client.expect_no_reply().await?;
    ensure!(api.count(EventKind::Message).await? == 2, "the function ran for a message above the rate");
    Ok(())
}
