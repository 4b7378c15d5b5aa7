//! The table of section 2.3: what is refused before any function runs.

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
    ConformanceRow::holds(
        "2.3-4",
        Documented,
        "More new connections than the rate allows: 429.",
        SAME_BEHAVIOR,
        |world| throttling::connections(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.3-5",
        Documented,
        "An API key is required and missing or unknown: 403.",
        SAME_BEHAVIOR,
        |world| keys::required(world).boxed(),
    ),
    ConformanceRow::holds(
        "2.3-6",
        Documented,
        "IAM authorization and no or a wrong signature: 403.",
        SAME_BEHAVIOR,
        |world| signatures::connect(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "2.3-7",
        Documented,
        "TLS below 1.2 is refused by the TLS handshake.",
        "the listener speaks plain HTTP; TLS ends at the ingress in front of it",
    ),
    ConformanceRow::holds(
        "2.3-8",
        Documented,
        "A URL of more than 4,096 characters is refused; 414 is a deduction.",
        "414",
        |world| long_url(world).boxed(),
    ),
];

async fn unknown_stage(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let stage = &api.place.stage;
    for path in ["/nowhere".to_owned(), format!("/{stage}/more"), format!("/{stage}x"), format!("/x/{stage}")] {
        let refusal = api.expect_rejection(HandshakeBuilder::new().path(&path)).await?;
        ensure!(refusal.head.status == 403, "{path} was answered {}", refusal.head.status);
    }
    ensure!(api.count(EventKind::Connect).await? == 0, "$connect ran");
    Ok(())
}

async fn no_stage(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.expect_rejection(HandshakeBuilder::new().path("/")).await?;
    ensure!(refusal.head.status == 403, "the status is {}", refusal.head.status);
    Ok(())
}

async fn plain_get(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.expect_rejection(HandshakeBuilder::new().plain()).await?;
    ensure!(refusal.head.status == 426, "the status is {}", refusal.head.status);
    ensure!(refusal.body.is_empty(), "the body is {:?}", refusal.body);
    Ok(())
}

pub(super) async fn long_url(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let room = 4096 - api.place.path().len() - "?x=".len();
    let refusal = api.expect_rejection(HandshakeBuilder::new().query(&format!("x={}", "y".repeat(room + 1)))).await?;
    ensure!(refusal.head.status == 414, "4,097 characters were answered {}", refusal.head.status);
    world.require_local_gateway("a URL of exactly 4,096 characters, without the observer's id")?;
    api.dial(HandshakeBuilder::new().query(&format!("x={}", "y".repeat(room)))).await?;
    Ok(())
}
