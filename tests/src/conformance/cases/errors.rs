//! ERR-1 to ERR-4: error frames, byte for byte.

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::conformance::event::{EventKind, shape};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;

/// Frames captured by clients of API Gateway.
const CAPTURED: &str = include_str!("../../../fixtures/apigw/error-frames.txt");

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "ERR-1",
        Reported,
        "An error frame has message, connection id and request id in that order, with irregular spacing.",
        "the same bytes as the captures, except for the ids",
        |world| template(world).boxed(),
    ),
    ConformanceRow::holds(
        "ERR-2",
        Inferred,
        "`requestId` is that of the failing message's event.",
        SAME_BEHAVIOR,
        |world| request_id(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "ERR-3",
        Inferred,
        "WebSocket APIs offer no way to customize these frames.",
        "they cannot be customized here either",
    ),
    ConformanceRow::holds(
        "ERR-4",
        Unknown,
        "A message above the rate limit presumably returns the text `Too Many Requests`.",
        "that text in the template of ERR-1; no function runs, and the connection stays open",
        |world| super::throttling::route(world).boxed(),
    ),
];

async fn template(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let frame = client.request_directive(json!({"throw": "no"})).await?;
    let value: Value = serde_json::from_str(&frame)?;
    let request = value["requestId"].as_str().unwrap_or_default();
    let captured = CAPTURED.lines().find(|line| line.contains("Internal server error")).unwrap_or_default();
    let sample: Value = serde_json::from_str(captured)?;
    let expected = captured
        .replace(sample["connectionId"].as_str().unwrap_or_default(), &id)
        .replace(sample["requestId"].as_str().unwrap_or_default(), request);
    ensure!(frame == expected, "the frame is {frame}, the capture {captured}");
    for line in CAPTURED.lines() {
        let other =
            shape(line)?.replace(serde_json::from_str::<Value>(line)?["message"].as_str().unwrap_or_default(), "");
        ensure!(other == shape(&frame)?.replace("Internal server error", ""), "the captures differ: {line}");
    }
    Ok(())
}

async fn request_id(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    let frame: Value = serde_json::from_str(&client.request_directive(json!({"throw": "no"})).await?)?;
    let event = api.next(EventKind::Message).await?;
    ensure!(frame["requestId"] == event.context("requestId"), "{frame} for {}", event.raw);
    ensure!(frame["connectionId"] == event.context("connectionId"), "{frame} for {}", event.raw);
    Ok(())
}
