//! CC-1 to CC-5: order and concurrency of messages.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;
use crate::websocket::{RawFrame, opcode};

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "CC-1",
        Documented,
        "Each message is a separate invocation; several of one connection run concurrently.",
        "the same for Lambda functions; messages of the messaging application are handled in order (`api.ordering`)",
        |world| at_once(world).boxed(),
    ),
    ConformanceRow::holds(
        "CC-2",
        Documented,
        "Replies may overtake each other.",
        "the same with the ordering `concurrent`",
        |world| overtaking(world).boxed(),
    ),
    ConformanceRow::differs(
        "CC-3",
        Inferred,
        "A message may still be processed while `$disconnect` runs.",
        "`$disconnect` runs after all messages received before the end have been processed",
        "handlers that clean up must not run before the messages of the same connection",
        |world| disconnect_comes_last(world).boxed(),
    ),
    ConformanceRow::holds(
        "CC-4",
        Documented,
        "No message is delivered before `$connect` has succeeded.",
        SAME_BEHAVIOR,
        |world| early_message(world).boxed(),
    ),
    ConformanceRow::holds(
        "CC-5",
        Inferred,
        "A message whose function failed is not retried.",
        SAME_BEHAVIOR,
        |world| no_retry(world).boxed(),
    ),
];

async fn at_once(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    let started = Instant::now();
    for _ in 0..8 {
        let answer = json!({"after": 500, "return": {"statusCode": 200, "body": "done"}});
        client.send_json(&json!({"action": "ask", "answer": answer})).await?;
    }
    for _ in 0..8 {
        ensure!(client.text().await? == "done");
    }
    let elapsed = started.elapsed();
    ensure!(elapsed < Duration::from_millis(3000), "eight handlers of 500 ms took {elapsed:?}");
    Ok(())
}

async fn overtaking(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    let slow = json!({"after": 500, "return": {"statusCode": 200, "body": "slow"}});
    client.send_json(&json!({"action": "ask", "answer": slow})).await?;
    let first = client.request_directive(json!({"return": {"statusCode": 200, "body": "quick"}})).await?;
    ensure!(first == "quick" && client.text().await? == "slow", "the first reply was {first}");
    Ok(())
}

async fn disconnect_comes_last(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a check of deliberate differences")?;
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send_directive(json!({"after": 300, "note": "handled"})).await?;
    api.next(EventKind::Message).await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    ensure!(api.count(EventKind::Note).await? == 1, "$disconnect ran before the message was processed");
    Ok(())
}

async fn early_message(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let early = RawFrame::new(opcode::TEXT, r#"{"action":"ask"}"#).to_bytes();
    let dial = || HandshakeBuilder::new().followed_by(early.clone());
    let mut client = api.dial(dial().probe(json!({"connect": {"after": 200, "note": "connected"}}))).await?;
    let message = api.next(EventKind::Message).await?;
    ensure!(api.count(EventKind::Note).await? == 1, "the message was delivered before $connect finished");
    let waited = message.number("requestTimeEpoch") - message.number("connectedAt");
    ensure!(waited >= 190, "the message's event is {waited} ms after connectedAt");
    ensure!(client.text().await? == "16", "the early message was not answered");
    let rejection = api.expect_rejection(dial().probe(json!({"connect": {"return": {"statusCode": 403}}}))).await?;
    ensure!(
        rejection.head.status == 403 && api.count(EventKind::Message).await? == 1,
        "a rejected client's message was delivered"
    );
    Ok(())
}

async fn no_retry(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.request_directive(json!({"throw": "no"})).await?;
    client.expect_no_reply().await?;
    let events = api.count(EventKind::Message).await?;
    ensure!(events == 2, "two messages caused {events} events");
    Ok(())
}
