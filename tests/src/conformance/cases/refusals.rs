//! The table of section 2.3: what is refused before any function runs.

use anyhow::ensure;
use futures_util::FutureExt as _;

use super::{keys, signatures, throttling};
use crate::conformance::client::Dial;
use crate::conformance::event::Kind;
use crate::conformance::row::{Mark::*, Row, SAME};
use crate::conformance::world::World;

pub(super) const ROWS: &[Row] = &[
    Row::holds("2.3-1", Reported, "An unknown stage, or one that is not deployed: 403.", SAME, |world| {
        unknown_stage(world).boxed()
    }),
    Row::holds("2.3-2", Inferred, "No stage in the path: 403.", SAME, |world| no_stage(world).boxed()),
    Row::holds(
        "2.3-3",
        Reported,
        "A plain GET of the stage without an upgrade: 426 with an empty body.",
        SAME,
        |world| plain_get(world).boxed(),
    ),
    Row::holds("2.3-4", Documented, "More new connections than the rate allows: 429.", SAME, |world| {
        throttling::connections(world).boxed()
    }),
    Row::holds("2.3-5", Documented, "An API key is required and missing or unknown: 403.", SAME, |world| {
        keys::required(world).boxed()
    }),
    Row::holds("2.3-6", Documented, "IAM authorization and no or a wrong signature: 403.", SAME, |world| {
        signatures::connect(world).boxed()
    }),
    Row::not_applicable(
        "2.3-7",
        Documented,
        "TLS below 1.2 is refused by the TLS handshake.",
        "the listener speaks plain HTTP; TLS ends at the ingress in front of it",
    ),
    Row::holds(
        "2.3-8",
        Documented,
        "A URL of more than 4,096 characters is refused; 414 is a deduction.",
        "414",
        |world| long_url(world).boxed(),
    ),
];

async fn unknown_stage(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let stage = &api.place.stage;
    for path in ["/nowhere".to_owned(), format!("/{stage}/more"), format!("/{stage}x"), format!("/x/{stage}")] {
        let refusal = api.refused(Dial::new().path(&path)).await?;
        ensure!(refusal.head.status == 403, "{path} was answered {}", refusal.head.status);
    }
    ensure!(api.count(Kind::Connect).await? == 0, "$connect ran");
    Ok(())
}

async fn no_stage(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.refused(Dial::new().path("/")).await?;
    ensure!(refusal.head.status == 403, "the status is {}", refusal.head.status);
    Ok(())
}

async fn plain_get(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.refused(Dial::new().plain()).await?;
    ensure!(refusal.head.status == 426, "the status is {}", refusal.head.status);
    ensure!(refusal.body.is_empty(), "the body is {:?}", refusal.body);
    Ok(())
}

pub(super) async fn long_url(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let room = 4096 - api.place.path().len() - "?x=".len();
    let refusal = api.refused(Dial::new().query(&format!("x={}", "y".repeat(room + 1)))).await?;
    ensure!(refusal.head.status == 414, "4,097 characters were answered {}", refusal.head.status);
    world.only_here("a URL of exactly 4,096 characters, without the observer's id")?;
    api.dial(Dial::new().query(&format!("x={}", "y".repeat(room)))).await?;
    Ok(())
}
