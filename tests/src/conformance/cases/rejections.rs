//! 2.3-1 to 2.3-8: handshakes rejected before any function runs.

use anyhow::ensure;
use futures_util::FutureExt as _;

use super::{keys, signatures, throttling};
use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "2.3-1",
        Reported,
        "An unknown stage, or one that is not deployed: 403.",
        SAME_BEHAVIOR,
        |world| unknown_stage(world).boxed(),
    ),
    ConformanceRow::holds("2.3-2", Inferred, "No stage in the path: 403.", SAME_BEHAVIOR, |world| {
        no_stage(world).boxed()
    }),
    ConformanceRow::holds(
        "2.3-3",
        Reported,
        "A plain GET of the stage without an upgrade: 426 with an empty body.",
        SAME_BEHAVIOR,
        |world| plain_get(world).boxed(),
    ),
    ConformanceRow::holds("2.3-4", Documented, "New connections above the rate limit: 429.", SAME_BEHAVIOR, |world| {
        throttling::connections(world).boxed()
    }),
    ConformanceRow::holds(
        "2.3-5",
        Documented,
        "An API key is required, but missing or unknown: 403.",
        SAME_BEHAVIOR,
        |world| keys::required(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.3-6",
        Documented,
        "IAM authorization with a missing or wrong signature: 403.",
        SAME_BEHAVIOR,
        |world| signatures::connect(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "2.3-7",
        Documented,
        "TLS below 1.2 fails in the TLS handshake.",
        "the listener uses plain HTTP; the ingress terminates TLS",
    ),
    ConformanceRow::holds(
        "2.3-8",
        Documented,
        "A URL longer than 4,096 characters is rejected, presumably with 414.",
        "414",
        |world| long_url(world).boxed(),
    ),
];

async fn unknown_stage(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let stage = &api.endpoint.stage;
    for path in ["/nowhere".to_owned(), format!("/{stage}/more"), format!("/{stage}x"), format!("/x/{stage}")] {
        let rejection = api.expect_rejection(HandshakeBuilder::new().path(&path)).await?;
        ensure!(rejection.head.status == 403, "{path} returned {}", rejection.head.status);
    }
    ensure!(api.count(EventKind::Connect).await? == 0, "$connect ran");
    Ok(())
}

async fn no_stage(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejection = api.expect_rejection(HandshakeBuilder::new().path("/")).await?;
    ensure!(rejection.head.status == 403, "the status is {}", rejection.head.status);
    Ok(())
}

async fn plain_get(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejection = api.expect_rejection(HandshakeBuilder::new().plain()).await?;
    ensure!(rejection.head.status == 426, "the status is {}", rejection.head.status);
    ensure!(rejection.body.is_empty(), "the body is {:?}", rejection.body);
    Ok(())
}

pub(super) async fn long_url(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let query_length = 4096 - api.endpoint.path().len() - "?x=".len();
    let rejection =
        api.expect_rejection(HandshakeBuilder::new().query(&format!("x={}", "y".repeat(query_length + 1)))).await?;
    ensure!(rejection.head.status == 414, "4,097 characters returned {}", rejection.head.status);
    world.require_local_gateway("a URL of exactly 4,096 characters, without the observer's id")?;
    api.dial(HandshakeBuilder::new().query(&format!("x={}", "y".repeat(query_length)))).await?;
    Ok(())
}
