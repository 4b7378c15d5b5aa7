//! The errors of section 5.4 and CX-20 to CX-26: errors of `@connections` calls.

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use shim::config::ManagementAccess;

use super::semantics::gone_after_close;
use crate::conformance::client::{HandshakeBuilder, ManagementReply, ManagementRequest};
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

/// Id in the format of API Gateway, without a connection.
const UNUSED_ID: &str = "R0oXAdfD0kwCH6w=";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "5.4-1",
        Documented,
        "Connection closed: 410 `GoneException`, empty body.",
        SAME_BEHAVIOR,
        |world| gone_after_close(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-2",
        Reported,
        "A well-formed id that never existed: 410 `GoneException`, empty body.",
        SAME_BEHAVIOR,
        |world| never_existed(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-3",
        Reported,
        "A malformed id: 400 `BadRequestException`, `Invalid connectionId: …`.",
        SAME_BEHAVIOR,
        |world| malformed(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-4",
        Documented,
        "During `$connect`: 410 `GoneException`, empty body.",
        SAME_BEHAVIOR,
        |world| during_connect(world).boxed(),
    ),
    ConformanceRow::differs(
        "5.4-5",
        Reported,
        "A wrong or missing stage in the path: 403 `ForbiddenException`, `Forbidden`.",
        "the same for a wrong stage; a missing one is treated as an empty mapping of a custom domain",
        "one address serves both forms of URL (CX-1), and handlers use either",
        |world| super::management::other_stage(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-6",
        Inferred,
        "Unsigned: 403 `MissingAuthenticationTokenException`; a wrong signature: 403 `InvalidSignatureException`.",
        "the same on the traffic port",
        |world| rejected_callers(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-7",
        Reported,
        "IAM denies: 403 `AccessDeniedException` with caller and resource in the message.",
        "the same on the traffic port; the account id in the resource is masked except for its last digits",
        |world| super::signatures::denied(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-8",
        Documented,
        "A caller without permission: 403 `ForbiddenException`.",
        SAME_BEHAVIOR,
        |world| super::management::other_stage(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-9",
        Documented,
        "A body larger than 128 KB: 413 `PayloadTooLargeException` with a message.",
        SAME_BEHAVIOR,
        |world| too_large(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-10",
        Documented,
        "Above the rate limit, or the client does not read: 429 `LimitExceededException`, empty body.",
        SAME_BEHAVIOR,
        |world| limit_exceeded(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-11",
        Unknown,
        "The stage added to the path of a custom domain: a separate message, status unknown.",
        "accepted: one address serves both forms of URL (CX-1)",
        |world| stage_on_custom_domain(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-20",
        Documented,
        "Every error names its exception in `x-amzn-ErrorType`; without it SDKs raise no typed exception.",
        SAME_BEHAVIOR,
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-21",
        Reported,
        "In March 2019 the header was missing; today it is present.",
        "always present",
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-22",
        Documented,
        "The header may carry a suffix after `:`, which SDKs remove.",
        "the name without a suffix",
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-23",
        Documented,
        "SDKs require error bodies to be empty or JSON.",
        SAME_BEHAVIOR,
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds("CX-24", Documented, "Every response has `x-amzn-RequestId`.", SAME_BEHAVIOR, |world| {
        every_error(world).boxed()
    }),
    ConformanceRow::not_applicable(
        "CX-25",
        Inferred,
        "SDKs treat 429 as throttling and make up to three attempts.",
        "a property of SDKs; that they recognize the shim's 429 is row 5.4-10",
    ),
    ConformanceRow::not_applicable(
        "CX-26",
        Reported,
        "Some users saw a 410 although the message arrived.",
        "a defect that no application relies on; here a 410 means that nothing was sent",
    ),
];

/// Checks that a reply is API Gateway's 410.
pub(super) fn expect_gone(reply: &ManagementReply) -> anyhow::Result<()> {
    ensure!(reply.error() == (410, Some("GoneException")), "the reply is {:?}", reply.error());
    ensure!(reply.body.is_empty(), "the body is {:?}", reply.text());
    Ok(())
}

async fn never_existed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    for method in ["POST", "GET", "DELETE"] {
        expect_gone(&api.call(ManagementRequest::new(method, &api.endpoint, UNUSED_ID)).await?)?;
    }
    Ok(())
}

async fn malformed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    for id in ["test-connection-123", "0b9e1c52-6a3f-4a52-9d50-2f9d5e1a7c11", "R0oXAdfD0kwCH6w", "R0oXAdfD0kwCH6+="] {
        for method in ["POST", "GET", "DELETE"] {
            let reply = api.call(ManagementRequest::new(method, &api.endpoint, id)).await?;
            ensure!(reply.error() == (400, Some("BadRequestException")), "{id}: {:?}", reply.error());
            let body: Value = serde_json::from_slice(&reply.body)?;
            ensure!(body == json!({"message": format!("Invalid connectionId: {id}")}), "{body}");
        }
    }
    Ok(())
}

async fn during_connect(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for method in ["POST", "GET", "DELETE"] {
        let connect = json!({"connect": {"call": {"method": method}}});
        api.dial(HandshakeBuilder::new().probe(connect)).await?.expect_no_reply().await?;
        let note = api.next(EventKind::Note).await?;
        ensure!(
            note.value == json!({"status": 410, "errorType": "GoneException", "body": ""}),
            "{method}: {}",
            note.raw
        );
    }
    Ok(())
}

async fn rejected_callers(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::special("rejected callers", |spec| spec.management = ManagementAccess::Off)).await?;
    let reply = api.post(UNUSED_ID, "x").await?;
    let expected = (403, Some("MissingAuthenticationTokenException"));
    ensure!(reply.error() == expected, "the reply is {:?}", reply.error());
    ensure!(reply.text() == r#"{"message":"Missing Authentication Token"}"#, "the body is {}", reply.text());
    super::signatures::rejected_callers(world).await
}

async fn too_large(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let reply = api.post(&id, "x".repeat(128 * 1024 + 1)).await?;
    ensure!(reply.error() == (413, Some("PayloadTooLargeException")), "the reply is {:?}", reply.error());
    let body: Value = serde_json::from_slice(&reply.body)?;
    ensure!(body["message"].is_string(), "{body}");
    client.expect_no_reply().await
}

async fn limit_exceeded(world: &CaseWorld) -> anyhow::Result<()> {
    buffer_full(world).await?;
    super::throttling::requests(world).await
}

async fn buffer_full(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a small buffer per connection", |spec| spec.outbox_bytes = Some(256 * 1024));
    let api = world.api(spec).await?;
    let (_never_reads, id) = api.connect_with_id().await?;
    let text = "x".repeat(100_000);
    // The kernel's buffers on both sides hold some megabytes before the gateway's outbox fills.
    for _ in 0..400 {
        let reply = api.post(&id, text.clone()).await?;
        if reply.head.status != 200 {
            ensure!(reply.error() == (429, Some("LimitExceededException")), "the reply is {:?}", reply.error());
            ensure!(reply.body.is_empty(), "the body is {:?}", reply.text());
            ensure!(api.describe(&id).await?.head.status == 200, "the connection was closed");
            return Ok(());
        }
    }
    bail!("40 MB were accepted for a client that does not read")
}

async fn stage_on_custom_domain(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a custom domain")?;
    let api = world.standard().await?;
    let (mut client, event) = api.connected(HandshakeBuilder::new().host("chat.example.com")).await?;
    ensure!(api.post(event.context("connectionId"), "x").await?.head.status == 200);
    ensure!(client.text().await? == "x");
    Ok(())
}

/// Checks the common properties of all errors with one call each.
async fn every_error(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let mut seen = Vec::new();
    for call in failing_calls(&api) {
        let reply = api.call(call.clone()).await?;
        let (status, name) = reply.error();
        let name = name.unwrap_or_default().to_owned();
        ensure!(
            status >= 400 && name.ends_with("Exception"),
            "{} {} returned {status} {name:?}",
            call.method,
            call.path
        );
        ensure!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name:?} has a suffix");
        ensure!(reply.body.is_empty() || serde_json::from_slice::<Value>(&reply.body).is_ok(), "{reply:?}");
        let request = reply.head.header("x-amzn-requestid").unwrap_or_default().to_owned();
        ensure!(!request.is_empty() && !seen.contains(&request), "the request id is {request:?}");
        seen.push(request);
    }
    let (_client, id) = api.connect_with_id().await?;
    ensure!(api.post(&id, "x").await?.head.header("x-amzn-requestid").is_some(), "a response without a request id");
    Ok(())
}

fn failing_calls(api: &Api) -> Vec<ManagementRequest> {
    let call = |method: &str, id: &str| ManagementRequest::new(method, &api.endpoint, id);
    vec![
        call("POST", UNUSED_ID),
        call("GET", "malformed"),
        call("PUT", UNUSED_ID),
        call("PATCH", UNUSED_ID),
        call("POST", UNUSED_ID).path("/nowhere/@connections/x"),
        call("POST", UNUSED_ID).path(&format!("{}/@connections", api.endpoint.path())),
        call("POST", UNUSED_ID).path(&format!("{}/@connections/", api.endpoint.path())),
        call("POST", UNUSED_ID).path(&format!("{}/@connections/{UNUSED_ID}/more", api.endpoint.path())),
    ]
}
