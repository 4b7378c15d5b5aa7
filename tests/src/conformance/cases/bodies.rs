//! QS-1 to QS-3 and BODY-1 to BODY-3: query strings and bodies.

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;
use crate::websocket::RawFrame;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "QS-1",
        Documented,
        "`queryStringParameters` has one value per name, the multi-value map all of them.",
        "the same; the single value is the last one",
        |world| repeated(world).boxed(),
    ),
    ConformanceRow::holds(
        "QS-2",
        Inferred,
        "Names and values are percent-decoded; the handling of `+` and of invalid escapes is unknown.",
        "decoded once; `+` is a space, an invalid escape is kept as it is",
        |world| decoded(world).boxed(),
    ),
    ConformanceRow::holds(
        "QS-3",
        Inferred,
        "A handwritten fixture joins values with commas; no capture does.",
        "values are never joined",
        |world| repeated(world).boxed(),
    ),
    ConformanceRow::holds(
        "BODY-1",
        Documented,
        "`body` is the complete text of all fragments, and `isBase64Encoded` is false.",
        SAME_BEHAVIOR,
        |world| fragments(world).boxed(),
    ),
    ConformanceRow::holds(
        "BODY-2",
        Reported,
        "Any text is passed through byte for byte, JSON or not.",
        SAME_BEHAVIOR,
        |world| as_sent(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "BODY-3",
        Documented,
        "An integration can decode base64 text (`CONVERT_TO_BINARY`), but not a Lambda proxy integration.",
        "only Lambda proxy integrations exist",
    ),
];

fn maps(event: &Event) -> (&Value, &Value) {
    (&event.value["queryStringParameters"], &event.value["multiValueQueryStringParameters"])
}

async fn repeated(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().query("room=a&room=b&x&y=")).await?;
    let (single, multi) = maps(&event);
    ensure!(single["room"] == "b" && single["x"] == "" && single["y"] == "", "{}", event.raw);
    ensure!(multi["room"] == json!(["a", "b"]) && multi["x"] == json!([""]), "{}", event.raw);
    Ok(())
}

async fn decoded(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().query("a%20b=%C3%BC%2525&plus=1+1&bad=%zz%4")).await?;
    let (single, multi) = maps(&event);
    ensure!(single["a b"] == "ü%25", "{}", event.raw);
    ensure!(single["plus"] == "1 1" && single["bad"] == "%zz%4", "{}", event.raw);
    ensure!(multi["bad"] == json!(["%zz%4"]), "{}", event.raw);
    Ok(())
}

async fn fragments(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    let text = r#"{"action":"probe","text":"äöü in pieces"}"#;
    client.send(&RawFrame::fragments(text, 7)).await?;
    let event = api.next(EventKind::Message).await?;
    ensure!(event.value["body"] == text && event.value["isBase64Encoded"] == false, "{}", event.raw);
    Ok(())
}

async fn as_sent(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    for text in ["hello", "\"hello\"", r#"{"action":"x", body:"hello"}"#, " \u{feff}\t\u{0}\u{7f}\u{2028}ü😀\\\" "] {
        client.send_text(text).await?;
        let event = api.next(EventKind::Message).await?;
        ensure!(event.value["body"] == text, "{text:?} became {}", event.value["body"]);
    }
    Ok(())
}
