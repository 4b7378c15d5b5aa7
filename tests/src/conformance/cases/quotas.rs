//! The quota table of section 4.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use gateway::api::{ApiDefinition, ApiValidationError, WebSocketApi};
use gateway::quotas::Quotas;
use gateway::route::RouteResponse;

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;
use crate::websocket::{RawFrame, opcode};

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "4-1",
        Documented,
        "500 new connections per second, adjustable.",
        "the same, per process; `throttle.connect_rate` adjusts it",
        |world| super::throttling::connections_per_second(world).boxed(),
    ),
    ConformanceRow::differs(
        "4-2",
        Documented,
        "The number of open connections is not limited.",
        "it is limited by `server.max_connections`; the case opens 200",
        "a process has finite memory; clients beyond it are answered 503 and find another one",
        |world| many(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "4-3",
        Documented,
        "10 Lambda authorizers per API, adjustable.",
        "an API has one authorizer or none: only `$connect` can have one",
    ),
    ConformanceRow::holds("4-4", Documented, "An authorizer's result has at most 8 KB.", SAME_BEHAVIOR, |world| {
        super::authorizers::too_large(world).boxed()
    }),
    ConformanceRow::holds("4-5", Documented, "300 routes per API, adjustable.", SAME_BEHAVIOR, |world| {
        routes(world).boxed()
    }),
    ConformanceRow::not_applicable(
        "4-6",
        Documented,
        "10 stages per API, adjustable.",
        "a process serves one stage of one API",
    ),
    ConformanceRow::holds(
        "4-7",
        Documented,
        "An integration may take 29 s at most.",
        "the same; what happens then is row 3.2-9",
        |world| stated(world, Quotas::aws_profile().integration_timeout == Duration::from_secs(29)).boxed(),
    ),
    ConformanceRow::holds("4-8", Documented, "A frame has at most 32 KB.", SAME_BEHAVIOR, |world| {
        too_big(world, 32 * 1024).boxed()
    }),
    ConformanceRow::holds("4-9", Documented, "A message has at most 128 KB.", SAME_BEHAVIOR, |world| {
        too_big(world, 128 * 1024).boxed()
    }),
    ConformanceRow::holds(
        "4-10",
        Documented,
        "A connection lasts 2 hours at most.",
        "the same; what happens then is row 4-C3",
        |world| stated(world, Quotas::aws_profile().max_lifetime == Some(Duration::from_secs(7200))).boxed(),
    ),
    ConformanceRow::holds(
        "4-11",
        Documented,
        "A connection without messages is closed after 10 minutes.",
        "the same; what happens then is row 4-C2",
        |world| stated(world, Quotas::aws_profile().idle_timeout == Duration::from_secs(600)).boxed(),
    ),
    ConformanceRow::holds("4-12", Documented, "A URL has at most 4,096 characters.", SAME_BEHAVIOR, |world| {
        super::refusals::long_url(world).boxed()
    }),
    ConformanceRow::not_applicable(
        "4-13",
        Documented,
        "A mapping template has at most 300 KB.",
        "proxy integrations have no templates",
    ),
    ConformanceRow::not_applicable(
        "4-14",
        Documented,
        "An access log template has at most 3 KB.",
        "access logs have a fixed form",
    ),
    ConformanceRow::holds(
        "4-15",
        Documented,
        "10,000 requests per second with a burst of 5,000, calls of `@connections` included.",
        "the same, per process; `throttle.rate` and `throttle.burst` adjust it",
        |world| super::throttling::requests(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-16",
        Documented,
        "A stage's name has letters, digits, `-` and `_`, 128 at most.",
        SAME_BEHAVIOR,
        |world| stage_names(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-17",
        Unknown,
        "How large the headers of a handshake may be is not known for WebSocket APIs.",
        "16 KiB for the whole head and 100 fields; more is answered 431",
        |world| large_head(world).boxed(),
    ),
];

async fn many(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("200 connections at a time")?;
    let api = world.standard().await?;
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(api.connect().await?);
    }
    for client in &mut open {
        client.expect_no_reply().await?;
    }
    Ok(())
}

/// For numbers whose full length nobody waits for: that they are what the gateway is told to apply.
async fn stated(world: &CaseWorld, holds: bool) -> anyhow::Result<()> {
    world.require_local_gateway("a look at the numbers that are applied")?;
    ensure!(holds, "the profile 'aws' has another number");
    Ok(())
}

fn mistakes(change: impl FnOnce(&mut ApiDefinition)) -> anyhow::Result<Vec<ApiValidationError>> {
    let mut definition = ApiSpec::standard().definition;
    change(&mut definition);
    match WebSocketApi::new(definition) {
        Ok(_) => bail!("the definition was accepted"),
        Err(mistakes) => Ok(mistakes.0),
    }
}

async fn routes(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("an API with 301 routes")?;
    let fill = |most: usize| {
        move |definition: &mut ApiDefinition| {
            let route = definition.routes[0].clone();
            for number in definition.routes.len()..most {
                definition
                    .routes
                    .push(gateway::api::RouteDefinition { key: format!("route-{number}"), ..route.clone() });
            }
        }
    };
    ensure!(mistakes(fill(301))? == [ApiValidationError::TooManyRoutes { found: 301, limit: 300 }]);
    let spec = ApiSpec::special("an API with 300 routes", |spec| {
        fill(299)(&mut spec.definition);
        spec.add("last", RouteResponse::OneWay);
    });
    world.api(spec).await?.connect().await?.expect_no_reply().await
}

async fn too_big(world: &CaseWorld, most: usize) -> anyhow::Result<()> {
    let text = "x".repeat(most + 1);
    let whole = vec![RawFrame::new(opcode::TEXT, text.clone())];
    let frames = if most > 32 * 1024 { RawFrame::fragments(&text, 16 * 1024) } else { whole };
    super::frames::closes(world, &frames, 1009).await?;
    Ok(())
}

async fn stage_names(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("stages of other names")?;
    let name = "a".repeat(128);
    let spec = ApiSpec::special("a stage of another name", |spec| spec.definition.stage.clone_from(&name));
    world.api(spec).await?.connect().await?;
    for name in ["", "a b", "ü", "$default", &"a".repeat(129)] {
        let found = mistakes(|definition| name.clone_into(&mut definition.stage))?;
        ensure!(found == [ApiValidationError::StageName(name.to_owned())], "{name:?}: {found:?}");
    }
    Ok(())
}

async fn large_head(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    api.dial(HandshakeBuilder::new().header("x-large", &"x".repeat(8 * 1024))).await?;
    let refusal = api.expect_rejection(HandshakeBuilder::new().header("x-large", &"x".repeat(20 * 1024))).await?;
    ensure!(refusal.head.status == 431, "20 KiB were answered {}", refusal.head.status);
    let dial = (0..120).fold(HandshakeBuilder::new(), |dial, number| dial.header(&format!("x-{number}"), "x"));
    let refusal = api.expect_rejection(dial).await?;
    ensure!(refusal.head.status == 431, "120 fields were answered {}", refusal.head.status);
    Ok(())
}
