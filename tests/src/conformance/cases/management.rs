//! CX-1 to CX-4, the methods of section 5.2, and CX-10 to CX-13: `@connections` calls and their responses.

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::conformance::client::{HandshakeBuilder, ManagementRequest};
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;

/// Response of `GetConnection` on a live API.
const CAPTURED: &str = include_str!("../../../fixtures/apigw/get-connection.json");

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "CX-1",
        Documented,
        "The URL is `/{stage}/@connections/{id}`; on a custom domain the mapping replaces the stage.",
        "the same; both `/{stage}/@connections/{id}` and `/@connections/{id}` (an empty mapping) are accepted",
        |world| urls(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-2",
        Documented,
        "`@connections` and `%40connections`, and ids with `=` and with `%3D`, are equivalent.",
        SAME_BEHAVIOR,
        |world| escapes(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-3",
        Reported,
        "In 2019 an unencoded `@` could return 504, presumably no longer.",
        "it is accepted",
        |world| urls(world).boxed(),
    ),
    ConformanceRow::holds("CX-4", Reported, "Another stage than the connection's: 403.", SAME_BEHAVIOR, |world| {
        other_stage(world).boxed()
    }),
    ConformanceRow::holds(
        "5.2-1",
        Documented,
        "POST: 200 and an empty body; the client receives the bytes.",
        SAME_BEHAVIOR,
        |world| post(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.2-2",
        Documented,
        "GET: 200 and JSON that describes the connection.",
        SAME_BEHAVIOR,
        |world| get(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.2-3",
        Documented,
        "DELETE: 204 in the service model, 200 in one live test suite; the body is empty.",
        "204",
        |world| delete(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-10",
        Documented,
        "The JSON has camel-case keys and ISO 8601 times in UTC, with milliseconds.",
        "the same format as the capture, key order included",
        |world| get(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-11",
        Reported,
        "`userAgent` is `null` when the client sent none.",
        SAME_BEHAVIOR,
        |world| user_agent(world).boxed(),
    ),
    ConformanceRow::holds("CX-12", Documented, "SDKs parse the times as RFC 3339.", SAME_BEHAVIOR, |world| {
        get(world).boxed()
    }),
    ConformanceRow::holds(
        "CX-13",
        Reported,
        "Early in 2019 the response had counters and epoch times; this format no longer exists.",
        "the current format",
        |world| get(world).boxed(),
    ),
];

async fn urls(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let stage = api.endpoint.path();
    for path in [format!("{stage}/@connections/{id}"), format!("/@connections/{id}")] {
        let reply = api.call(ManagementRequest::new("POST", &api.endpoint, &id).path(&path).body("x")).await?;
        ensure!(reply.head.status == 200, "{path} returned {}", reply.head.status);
        ensure!(client.text().await? == "x");
    }
    Ok(())
}

async fn escapes(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let stage = api.endpoint.path();
    let fully_encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for collection in ["@connections", "%40connections"] {
        for id in [&id, &id.replace('=', "%3D"), &id.replace('=', "%3d"), &fully_encoded] {
            let path = format!("{stage}/{collection}/{id}");
            let reply = api.call(ManagementRequest::new("POST", &api.endpoint, id).path(&path).body("x")).await?;
            ensure!(reply.head.status == 200, "{path} returned {}", reply.head.status);
            ensure!(client.text().await? == "x");
        }
    }
    Ok(())
}

pub(super) async fn other_stage(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    for path in [format!("/nowhere/@connections/{id}"), format!("{}x/@connections/{id}", api.endpoint.path())] {
        let reply = api.call(ManagementRequest::new("POST", &api.endpoint, &id).path(&path).body("x")).await?;
        ensure!(reply.error() == (403, Some("ForbiddenException")), "{path} returned {:?}", reply.error());
        ensure!(reply.text() == r#"{"message":"Forbidden"}"#, "the body is {}", reply.text());
    }
    client.expect_no_reply().await
}

async fn post(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    for text in ["hello", "{\"a\": 1}", "ü😀\u{0}\n"] {
        let reply = api.post(&id, text).await?;
        ensure!(reply.head.status == 200 && reply.body.is_empty(), "{reply:?}");
        ensure!(client.text().await? == text);
    }
    Ok(())
}

async fn get(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new()).await?;
    let reply = api.describe(event.context("connectionId")).await?;
    ensure!(reply.head.status == 200, "the status is {}", reply.head.status);
    ensure!(reply.head.header("content-type") == Some("application/json"), "{:?}", reply.head);
    let mut expected = CAPTURED.trim_end().to_owned();
    let (seen, captured): (Value, Value) = (serde_json::from_slice(&reply.body)?, serde_json::from_str(CAPTURED)?);
    for pointer in ["/connectedAt", "/lastActiveAt", "/identity/sourceIp"] {
        let text = |value: &Value| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(pointer.ends_with("sourceIp") || is_rfc_3339(&text(&seen)), "{pointer} is {:?}", text(&seen));
        expected = expected.replace(&text(&captured), &text(&seen));
    }
    ensure!(reply.text() == expected, "{} is not {expected}", reply.text());
    Ok(())
}

/// Returns whether a time has the format `2025-02-03T01:46:33.523Z`.
fn is_rfc_3339(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddZ";
    let matches = |(seen, expected): (u8, u8)| if expected == b'd' { seen.is_ascii_digit() } else { seen == expected };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(matches)
}

async fn user_agent(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (_without_user_agent, event) = api.connected(HandshakeBuilder::new()).await?;
    let described: Value = serde_json::from_slice(&api.describe(event.context("connectionId")).await?.body)?;
    ensure!(described["identity"].get("userAgent") == Some(&Value::Null), "{described}");
    let (_with_user_agent, event) = api.connected(HandshakeBuilder::new().header("User-Agent", "probe/1")).await?;
    let described: Value = serde_json::from_slice(&api.describe(event.context("connectionId")).await?.body)?;
    ensure!(described["identity"]["userAgent"] == "probe/1", "{described}");
    Ok(())
}

async fn delete(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let reply = api.delete(&id).await?;
    ensure!(reply.head.status == 204 && reply.body.is_empty(), "{reply:?}");
    ensure!(client.expect_close().await?.0 == 1000, "the connection was closed with another code");
    api.next(EventKind::Disconnect).await?;
    Ok(())
}
