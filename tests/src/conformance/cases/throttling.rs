//! Cases of the rates: new connections, requests of every kind, single routes.
//!
//! Their buckets hold a few tokens and are practically never filled again, so that no case depends on how fast it runs.

use anyhow::ensure;
use gateway::quotas::{Quotas, RateLimit};
use serde_json::{Value, json};

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

/// `burst` times, and then not again while a case runs.
const fn only(burst: u32) -> RateLimit {
    RateLimit { per_second: 0, burst }
}

/// New connections beyond the rate get 429, and nothing runs for them; open ones go on.
pub(super) async fn connections(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a rate of its own", |spec| spec.definition.quotas.connect_rate = Some(only(2)));
    let api = world.api(spec).await?;
    let (mut first, mut second) = (api.connect().await?, api.connect().await?);
    let refusal = api.expect_rejection(HandshakeBuilder::new()).await?;
    ensure!(refusal.head.status == 429, "the status is {}", refusal.head.status);
    let body: Value = serde_json::from_slice(&refusal.body)?;
    ensure!(body["message"] == "Too Many Requests", "the body is {body}");
    ensure!(api.count(EventKind::Connect).await? == 2, "$connect ran for a connection beyond the rate");
    first.expect_no_reply().await?;
    second.expect_no_reply().await
}

/// The rate of new connections is API Gateway's.
pub(super) async fn connections_per_second(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a look at the numbers that are applied")?;
    ensure!(Quotas::aws_profile().connect_rate.is_some_and(|rate| rate.per_second == 500), "another rate");
    connections(world).await
}

/// Handshakes, messages and calls of `@connections` share one bucket, and each is refused in its own way.
pub(super) async fn requests(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a look at the numbers that are applied")?;
    ensure!(Quotas::aws_profile().request_rate == Some(RateLimit { per_second: 10_000, burst: 5_000 }), "another rate");
    let spec = ApiSpec::special("a rate of its own", |spec| spec.definition.quotas.request_rate = Some(only(3)));
    let api = world.api(spec).await?;
    let (mut client, id) = api.connect_with_id().await?;
    client.expect_no_reply().await?;
    ensure!(api.post(&id, "x").await?.head.status == 200, "a call within the rate was refused");
    ensure!(client.text().await? == "x");

    let frame: Value = serde_json::from_str(&client.request_directive(json!({})).await?)?;
    ensure!(frame["message"] == "Too Many Requests", "the frame is {frame}");
    let answer = api.post(&id, "y").await?;
    ensure!(answer.error() == (429, Some("LimitExceededException")), "answered {:?}", answer.error());
    ensure!(answer.body.is_empty(), "the body is {:?}", answer.text());
    let refusal = api.expect_rejection(HandshakeBuilder::new()).await?;
    ensure!(refusal.head.status == 429, "the status is {}", refusal.head.status);
    Ok(())
}

/// A message beyond the rate of its route is answered with an error frame, and no function runs; other routes go on.
pub(super) async fn route(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a route with a rate", |spec| {
        spec.definition.settings.rates.insert("chat".to_owned(), only(1));
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
    ensure!(api.count(EventKind::Message).await? == 2, "the function ran for a message beyond the rate");
    Ok(())
}
