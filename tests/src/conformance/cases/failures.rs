//! The errors of section 5.4 and CX-20 to CX-26: how calls of `@connections` fail.

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use shim::config::ManagementAccess;

use super::semantics::gone_at_once;
use crate::conformance::client::{HandshakeBuilder, ManagementReply, ManagementRequest};
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

/// An id that API Gateway could have issued, of no connection.
const NOBODY: &str = "R0oXAdfD0kwCH6w=";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "5.4-1",
        Documented,
        "Connection closed: 410 `GoneException`, empty body.",
        SAME_BEHAVIOR,
        |world| gone_at_once(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-2",
        Reported,
        "An id of the right form that never existed: 410 `GoneException`, empty body.",
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
        "the same for a wrong stage; a missing one is taken for an empty mapping of a custom domain",
        "one address serves both forms of URL (CX-1), and handlers use either",
        |world| super::management::other_stage(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-6",
        Inferred,
        "Unsigned: 403 `MissingAuthenticationTokenException`; a wrong signature: 403 `InvalidSignatureException`.",
        "the same where `server.management` is `iam`; callers that no address lets in get the former",
        |world| not_let_in(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-7",
        Reported,
        "IAM denies: 403 `AccessDeniedException` with caller and resource in the message.",
        "the same where `server.management` is `iam`; the account of the resource is masked but for its end",
        |world| super::signatures::denied(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-8",
        Documented,
        "A caller that is not allowed: 403 `ForbiddenException`.",
        SAME_BEHAVIOR,
        |world| super::management::other_stage(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-9",
        Documented,
        "A body of more than 128 KB: 413 `PayloadTooLargeException` with a message.",
        SAME_BEHAVIOR,
        |world| too_large(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-10",
        Documented,
        "Too fast, or the client does not read: 429 `LimitExceededException`, empty body.",
        SAME_BEHAVIOR,
        |world| too_fast(world).boxed(),
    ),
    ConformanceRow::holds(
        "5.4-11",
        Unknown,
        "The stage added to the path of a custom domain: a message of its own, status unknown.",
        "it works: one address serves both forms of URL (CX-1)",
        |world| stage_on_custom_domain(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-20",
        Documented,
        "Every error names its exception in `x-amzn-ErrorType`; without it SDKs raise none that is typed.",
        SAME_BEHAVIOR,
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-21",
        Reported,
        "In March 2019 the header was missing. It is there today.",
        "always there",
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-22",
        Documented,
        "The header may carry a suffix behind `:`, which SDKs cut off.",
        "the bare name",
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-23",
        Documented,
        "Bodies of errors must be empty or JSON for SDKs.",
        SAME_BEHAVIOR,
        |world| every_error(world).boxed(),
    ),
    ConformanceRow::holds("CX-24", Documented, "Every answer has `x-amzn-RequestId`.", SAME_BEHAVIOR, |world| {
        every_error(world).boxed()
    }),
    ConformanceRow::not_applicable(
        "CX-25",
        Inferred,
        "SDKs take 429 for throttling and try again, three times in all.",
        "it is said of SDKs; that they know our 429 as theirs is row 5.4-10",
    ),
    ConformanceRow::not_applicable(
        "CX-26",
        Reported,
        "Some users saw a 410 although the message arrived.",
        "it is a fault that nobody relies on; here a 410 means that nothing was sent",
    ),
];

/// Checks that an answer is the 410 of API Gateway.
pub(super) fn gone(answer: &ManagementReply) -> anyhow::Result<()> {
    ensure!(answer.error() == (410, Some("GoneException")), "answered {:?}", answer.error());
    ensure!(answer.body.is_empty(), "the body is {:?}", answer.text());
    Ok(())
}

async fn never_existed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    for method in ["POST", "GET", "DELETE"] {
        gone(&api.call(ManagementRequest::new(method, &api.place, NOBODY)).await?)?;
    }
    Ok(())
}

async fn malformed(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    for id in ["test-connection-123", "0b9e1c52-6a3f-4a52-9d50-2f9d5e1a7c11", "R0oXAdfD0kwCH6w", "R0oXAdfD0kwCH6+="] {
        for method in ["POST", "GET", "DELETE"] {
            let answer = api.call(ManagementRequest::new(method, &api.place, id)).await?;
            ensure!(answer.error() == (400, Some("BadRequestException")), "{id}: {:?}", answer.error());
            let body: Value = serde_json::from_slice(&answer.body)?;
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

async fn not_let_in(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world
        .api(ApiSpec::special("callers that are not let in", |spec| spec.management = ManagementAccess::Off))
        .await?;
    let answer = api.post(NOBODY, "x").await?;
    let expected = (403, Some("MissingAuthenticationTokenException"));
    ensure!(answer.error() == expected, "answered {:?}", answer.error());
    ensure!(answer.text() == r#"{"message":"Missing Authentication Token"}"#, "the body is {}", answer.text());
    super::signatures::not_let_in(world).await
}

async fn too_large(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let answer = api.post(&id, "x".repeat(128 * 1024 + 1)).await?;
    ensure!(answer.error() == (413, Some("PayloadTooLargeException")), "answered {:?}", answer.error());
    let body: Value = serde_json::from_slice(&answer.body)?;
    ensure!(body["message"].is_string(), "{body}");
    client.expect_no_reply().await
}

async fn too_fast(world: &CaseWorld) -> anyhow::Result<()> {
    buffer_full(world).await?;
    super::throttling::requests(world).await
}

async fn buffer_full(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a small buffer per connection", |spec| spec.outbox_bytes = Some(256 * 1024));
    let api = world.api(spec).await?;
    let (_never_reads, id) = api.connect_with_id().await?;
    let text = "x".repeat(100_000);
    // The kernel's buffers on both sides take some megabytes before anything waits in the gateway.
    for _ in 0..400 {
        let answer = api.post(&id, text.clone()).await?;
        if answer.head.status != 200 {
            ensure!(answer.error() == (429, Some("LimitExceededException")), "answered {:?}", answer.error());
            ensure!(answer.body.is_empty(), "the body is {:?}", answer.text());
            ensure!(api.describe(&id).await?.head.status == 200, "the connection was closed");
            return Ok(());
        }
    }
    bail!("40 MB were taken for a client that does not read")
}

async fn stage_on_custom_domain(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a custom domain")?;
    let api = world.standard().await?;
    let (mut client, event) = api.connected(HandshakeBuilder::new().host("chat.example.com")).await?;
    ensure!(api.post(event.context("connectionId"), "x").await?.head.status == 200);
    ensure!(client.text().await? == "x");
    Ok(())
}

/// One call for every error that can be had, and what all of them have in common.
async fn every_error(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let mut seen = Vec::new();
    for call in failing_calls(&api) {
        let answer = api.call(call.clone()).await?;
        let (status, name) = answer.error();
        let name = name.unwrap_or_default().to_owned();
        ensure!(
            status >= 400 && name.ends_with("Exception"),
            "{} {} was answered {status} {name:?}",
            call.method,
            call.path
        );
        ensure!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name:?} is not the bare name");
        ensure!(answer.body.is_empty() || serde_json::from_slice::<Value>(&answer.body).is_ok(), "{answer:?}");
        let request = answer.head.header("x-amzn-requestid").unwrap_or_default().to_owned();
        ensure!(!request.is_empty() && !seen.contains(&request), "the request id is {request:?}");
        seen.push(request);
    }
    let (_client, id) = api.connect_with_id().await?;
    ensure!(api.post(&id, "x").await?.head.header("x-amzn-requestid").is_some(), "an answer without a request id");
    Ok(())
}

fn failing_calls(api: &Api) -> Vec<ManagementRequest> {
    let call = |method: &str, id: &str| ManagementRequest::new(method, &api.place, id);
    vec![
        call("POST", NOBODY),
        call("GET", "malformed"),
        call("PUT", NOBODY),
        call("PATCH", NOBODY),
        call("POST", NOBODY).path("/nowhere/@connections/x"),
        call("POST", NOBODY).path(&format!("{}/@connections", api.place.path())),
        call("POST", NOBODY).path(&format!("{}/@connections/", api.place.path())),
        call("POST", NOBODY).path(&format!("{}/@connections/{NOBODY}/more", api.place.path())),
    ]
}
