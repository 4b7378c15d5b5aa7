//! 4-1 to 4-17: the quota table of section 4.

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
        "the same, per process; configurable as `throttle.connect_rate`",
        |world| super::throttling::connections_per_second(world).boxed(),
    ),
    ConformanceRow::differs(
        "4-2",
        Documented,
        "The number of open connections is unlimited.",
        "limited by `server.max_connections`; the case opens 200",
        "a process has finite memory; clients above the limit get 503 and connect to another process",
        |world| many(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "4-3",
        Documented,
        "10 Lambda authorizers per API, adjustable.",
        "an API has one authorizer or none: only `$connect` can have one",
    ),
    ConformanceRow::holds("4-4", Documented, "The result of an authorizer has at most 8 KB.", SAME_BEHAVIOR, |world| {
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
        "An integration times out after 29 s.",
        "the same; row 3.2-9 covers the effect",
        |world| configured(world, Quotas::aws_profile().integration_timeout == Duration::from_secs(29)).boxed(),
    ),
    ConformanceRow::holds("4-8", Documented, "A frame has at most 32 KB.", SAME_BEHAVIOR, |world| {
        above_limit(world, 32 * 1024).boxed()
    }),
    ConformanceRow::holds("4-9", Documented, "A message has at most 128 KB.", SAME_BEHAVIOR, |world| {
        above_limit(world, 128 * 1024).boxed()
    }),
    ConformanceRow::holds(
        "4-10",
        Documented,
        "A connection lasts at most 2 hours.",
        "the same; row 4-C3 covers the effect",
        |world| configured(world, Quotas::aws_profile().max_lifetime == Some(Duration::from_secs(7200))).boxed(),
    ),
    ConformanceRow::holds(
        "4-11",
        Documented,
        "A connection without messages is closed after 10 minutes.",
        "the same; row 4-C2 covers the effect",
        |world| configured(world, Quotas::aws_profile().idle_timeout == Duration::from_secs(600)).boxed(),
    ),
    ConformanceRow::holds("4-12", Documented, "A URL has at most 4,096 characters.", SAME_BEHAVIOR, |world| {
        super::rejections::long_url(world).boxed()
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
        "access logs have a fixed format",
    ),
    ConformanceRow::holds(
        "4-15",
        Documented,
        "10,000 requests per second with a burst of 5,000, `@connections` calls included.",
        "the same, per process; configurable as `throttle.rate` and `throttle.burst`",
        |world| super::throttling::requests(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-16",
        Documented,
        "A stage name consists of letters, digits, `-` and `_`, at most 128.",
        SAME_BEHAVIOR,
        |world| stage_names(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-17",
        Unknown,
        "The maximum size of handshake headers is unknown for WebSocket APIs.",
        "16 KiB for the request head and 100 fields; more returns 431",
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

/// Checks a configured number whose effect would take too long to wait for.
async fn configured(world: &CaseWorld, holds: bool) -> anyhow::Result<()> {
    world.require_local_gateway("a check of the configured quotas")?;
    ensure!(holds, "the profile 'aws' has another number");
    Ok(())
}

fn validation_errors(change: impl FnOnce(&mut ApiDefinition)) -> anyhow::Result<Vec<ApiValidationError>> {
    let mut definition = ApiSpec::standard().definition;
    change(&mut definition);
    match WebSocketApi::new(definition) {
        Ok(_) => bail!("the definition was accepted"),
        Err(validation_errors) => Ok(validation_errors.0),
    }
}

async fn routes(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("an API with 301 routes")?;
    let fill = |limit: usize| {
        move |definition: &mut ApiDefinition| {
            let route = definition.routes[0].clone();
            for number in definition.routes.len()..limit {
                definition
                    .routes
                    .push(gateway::api::RouteDefinition { key: format!("route-{number}"), ..route.clone() });
            }
        }
    };
    ensure!(validation_errors(fill(301))? == [ApiValidationError::TooManyRoutes { found: 301, limit: 300 }]);
    let spec = ApiSpec::special("an API with 300 routes", |spec| {
        fill(299)(&mut spec.definition);
        spec.add("last", RouteResponse::OneWay);
    });
    world.api(spec).await?.connect().await?.expect_no_reply().await
}

async fn above_limit(world: &CaseWorld, limit: usize) -> anyhow::Result<()> {
    let text = "x".repeat(limit + 1);
    let whole = vec![RawFrame::new(opcode::TEXT, text.clone())];
    let frames = if limit > 32 * 1024 { RawFrame::fragments(&text, 16 * 1024) } else { whole };
    super::frames::closes(world, &frames, 1009).await?;
    Ok(())
}

async fn stage_names(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("stages with other names")?;
    let name = "a".repeat(128);
    let spec = ApiSpec::special("a stage with another name", |spec| spec.definition.stage.clone_from(&name));
    world.api(spec).await?.connect().await?;
    for name in ["", "a b", "ü", "$default", &"a".repeat(129)] {
        let found = validation_errors(|definition| name.clone_into(&mut definition.stage))?;
        ensure!(found == [ApiValidationError::StageName(name.to_owned())], "{name:?}: {found:?}");
    }
    Ok(())
}

async fn large_head(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    api.dial(HandshakeBuilder::new().header("x-large", &"x".repeat(8 * 1024))).await?;
    let rejection = api.expect_rejection(HandshakeBuilder::new().header("x-large", &"x".repeat(20 * 1024))).await?;
    ensure!(rejection.head.status == 431, "20 KiB returned {}", rejection.head.status);
    let dial = (0..120).fold(HandshakeBuilder::new(), |dial, number| dial.header(&format!("x-{number}"), "x"));
    let rejection = api.expect_rejection(dial).await?;
    ensure!(rejection.head.status == 431, "120 fields returned {}", rejection.head.status);
    Ok(())
}
