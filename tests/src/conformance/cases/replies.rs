//! 3.2-1 to 3.2-9 and MSG-0 to MSG-9: replies to the client for each result of an integration.

use std::time::Duration;

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

const FAILED: &str = r#"{"message": "Internal server error", "#;
const TIMED_OUT: &str = r#"{"message": "Endpoint request timed out", "#;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "3.2-1",
        Documented,
        "A valid response of any status: no frame on a one-way route, its body as a text frame on a two-way route.",
        SAME_BEHAVIOR,
        |world| valid(world).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-2",
        Reported,
        "A status of 4xx or 5xx with a body: no frame on a one-way route, the body as a text frame on a two-way route.",
        SAME_BEHAVIOR,
        |world| statuses(world).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-3",
        Reported,
        "A valid response without a body on a two-way route: an empty message.",
        "the same; `null` is treated as no body",
        |world| no_body(world).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-4",
        Reported,
        "The function throws: the frame `Internal server error`.",
        SAME_BEHAVIOR,
        |world| expect_failure(world, vec![json!({"throw": "no"}), json!({"refuse": "crash"})]).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-5",
        Reported,
        "It returns `null` or a string: the frame `Internal server error`.",
        SAME_BEHAVIOR,
        |world| {
            expect_failure(world, vec![json!({"return": null}), json!({"return": "ok"}), json!({"return": [200]})])
                .boxed()
        },
    ),
    ConformanceRow::holds(
        "3.2-6",
        Reported,
        "It returns an object with further keys: the frame `Internal server error`.",
        SAME_BEHAVIOR,
        |world| {
            expect_failure(world, vec![json!({"return": {"statusCode": 200, "ConnectionId": "x", "Data": "y"}})])
                .boxed()
        },
    ),
    ConformanceRow::holds(
        "3.2-7",
        Reported,
        "The gateway may not invoke the function: the frame `Internal server error`, and the function does not run.",
        SAME_BEHAVIOR,
        |world| expect_local_failure(world, json!({"refuse": "not_invokable"})).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-8",
        Reported,
        "Lambda throttles: the frame `Internal server error`.",
        SAME_BEHAVIOR,
        |world| expect_local_failure(world, json!({"refuse": "throttled"})).boxed(),
    ),
    ConformanceRow::holds(
        "3.2-9",
        Reported,
        "The integration timeout of 29 s: the frame `Endpoint request timed out`; the function continues.",
        "the same; the case uses 500 ms",
        |world| timed_out(world).boxed(),
    ),
    ConformanceRow::holds(
        "MSG-0",
        Inferred,
        "No frame is sent for statuses 200 to 501 on a route without a route response.",
        SAME_BEHAVIOR,
        |world| statuses(world).boxed(),
    ),
    ConformanceRow::holds(
        "MSG-1",
        Documented,
        "The response is validated on one-way routes as well: five keys are allowed, and `body` must be a string.",
        SAME_BEHAVIOR,
        |world| grammar(world).boxed(),
    ),
    ConformanceRow::holds("MSG-2", Documented, "`{\"statusCode\": 200}` alone is enough.", SAME_BEHAVIOR, |world| {
        no_body(world).boxed()
    }),
    ConformanceRow::holds(
        "MSG-3",
        Documented,
        "The output of a proxy integration is the complete payload; there is no integration response.",
        "the same: the body reaches the client byte for byte",
        |world| payload(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "MSG-4",
        Documented,
        "The only possible route response is `$default`.",
        "a route is one-way or two-way, which covers this",
    ),
    ConformanceRow::holds("MSG-5", Inferred, "Headers of a message's response are ignored.", SAME_BEHAVIOR, |world| {
        headers(world).boxed()
    }),
    ConformanceRow::holds(
        "MSG-6",
        Unknown,
        "The effect of `isBase64Encoded: true` on a two-way route is unknown.",
        "the body is sent without decoding",
        |world| base64(world).boxed(),
    ),
    ConformanceRow::holds("MSG-7", Reported, "None of these errors closes the connection.", SAME_BEHAVIOR, |world| {
        stays_open(world).boxed()
    }),
    ConformanceRow::holds(
        "MSG-8",
        Reported,
        "An error is an ordinary text message for the client.",
        SAME_BEHAVIOR,
        |world| stays_open(world).boxed(),
    ),
    ConformanceRow::holds(
        "MSG-9",
        Documented,
        "A message that violates a route's model gets the reply `Bad request body`, and no function runs.",
        "the same, with the spacing of the documentation",
        |world| model(world).boxed(),
    ),
];

async fn model(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("a route with a model", |spec| {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "object", "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 5}},
        });
        spec.definition.settings.models.insert("chat".to_owned(), schema);
    });
    let api = world.api(spec).await?;
    let (mut client, id) = api.connect_with_id().await?;
    for message in [json!({"action": "chat"}), json!({"action": "chat", "text": "too long"})] {
        client.send_json(&message).await?;
        let frame = client.text().await?;
        let named = serde_json::from_str::<Value>(&frame)?["messageId"].as_str().unwrap_or_default().to_owned();
        let expected = format!(r#"{{"message" : "Bad request body", "connectionId": "{id}", "messageId": "{named}"}}"#);
        ensure!(frame == expected && named.len() == 16, "the frame is {frame}");
    }
    ensure!(api.count(EventKind::Message).await? == 0, "the function ran");
    client.send_json(&json!({"action": "chat", "text": "short"})).await?;
    ensure!(api.next(EventKind::Message).await?.context("routeKey") == "chat");
    client.expect_no_reply().await
}

/// Sends a directive to both routes and returns the reply of the two-way one.
async fn send_to_both(world: &CaseWorld, directive: Value) -> anyhow::Result<String> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.send_directive(directive.clone()).await?;
    client.expect_no_reply().await?;
    client.request_directive(directive).await
}

async fn valid(world: &CaseWorld) -> anyhow::Result<()> {
    let text = send_to_both(world, json!({"return": {"statusCode": 200, "body": "the reply"}})).await?;
    ensure!(text == "the reply", "the client received {text:?}");
    Ok(())
}

async fn statuses(world: &CaseWorld) -> anyhow::Result<()> {
    for status in [201, 301, 400, 401, 403, 500, 501] {
        let text = send_to_both(world, json!({"return": {"statusCode": status, "body": "the reply"}})).await?;
        ensure!(text == "the reply", "after {status} the client received {text:?}");
    }
    Ok(())
}

async fn no_body(world: &CaseWorld) -> anyhow::Result<()> {
    for response in [json!({"statusCode": 200}), json!({"statusCode": 200, "body": null})] {
        let text = send_to_both(world, json!({"return": response})).await?;
        ensure!(text.is_empty(), "the client received {text:?}");
    }
    Ok(())
}

/// Checks that both kinds of route reply with `Internal server error`.
async fn expect_failure(world: &CaseWorld, directives: Vec<Value>) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    for directive in &directives {
        client.send_directive(directive.clone()).await?;
        let frame = client.text().await?;
        ensure!(frame.starts_with(FAILED), "a one-way route replied {frame} to {directive}");
        let frame = client.request_directive(directive.clone()).await?;
        ensure!(frame.starts_with(FAILED), "a two-way route replied {frame} to {directive}");
    }
    client.expect_no_reply().await
}

async fn expect_local_failure(world: &CaseWorld, directive: Value) -> anyhow::Result<()> {
    world.require_local_gateway("a function that the gateway cannot invoke")?;
    expect_failure(world, vec![directive]).await
}

async fn timed_out(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("shorter timeouts", |spec| {
        spec.definition.quotas.integration_timeout = Duration::from_millis(500);
    });
    let api = world.api(spec).await?;
    let mut client = api.connect().await?;
    client.send_directive(json!({"after": 1500, "note": "one-way completed"})).await?;
    let frame = client.text().await?;
    ensure!(frame.starts_with(TIMED_OUT), "a one-way route replied {frame}");
    let frame = client.request_directive(json!({"after": 1500, "note": "two-way completed"})).await?;
    ensure!(frame.starts_with(TIMED_OUT), "a two-way route replied {frame}");
    for note in ["one-way completed", "two-way completed"] {
        let seen = api.next(EventKind::Note).await?;
        ensure!(seen.value["note"] == note, "{}", seen.raw);
    }
    client.expect_no_reply().await
}

async fn grammar(world: &CaseWorld) -> anyhow::Result<()> {
    let ok = json!({"statusCode": "201", "headers": {"a": "b"}, "multiValueHeaders": {"c": ["d"]}, "body": "x",
        "isBase64Encoded": false});
    let text = send_to_both(world, json!({"return": ok})).await?;
    ensure!(text == "x", "the client received {text:?}");
    let wrong = [
        json!({"statusCode": 200, "body": 1}),
        json!({"statusCode": 200, "body": {"a": 1}}),
        json!({"statusCode": 200, "headers": "x"}),
        json!({"statusCode": 200, "cookies": []}),
        json!({"statusCode": "ok"}),
    ];
    let directives: Vec<_> = wrong.iter().map(|response| json!({"return": response})).collect();
    expect_failure(world, directives).await
}

async fn payload(world: &CaseWorld) -> anyhow::Result<()> {
    for body in ["{\"a\": 1}", "not JSON", "\u{0}\n\"\\ü😀", "{\"statusCode\": 500}"] {
        let text = send_to_both(world, json!({"return": {"statusCode": 200, "body": body}})).await?;
        ensure!(text == body, "{body:?} became {text:?}");
    }
    Ok(())
}

async fn headers(world: &CaseWorld) -> anyhow::Result<()> {
    let response = json!({"statusCode": 200, "headers": {"Content-Type": "image/png", "Sec-WebSocket-Protocol": "x"}, "body": "y"});
    let text = send_to_both(world, json!({"return": response})).await?;
    ensure!(text == "y", "the client received {text:?}");
    Ok(())
}

async fn base64(world: &CaseWorld) -> anyhow::Result<()> {
    let text = send_to_both(world, json!({"return": {"statusCode": 200, "body": "aGVsbG8=", "isBase64Encoded": true}}))
        .await?;
    ensure!(text == "aGVsbG8=", "the client received {text:?}");
    Ok(())
}

async fn stays_open(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    for _ in 0..3 {
        let frame = client.request_directive(json!({"throw": "no"})).await?;
        ensure!(frame.starts_with(FAILED), "the client received {frame}");
    }
    client.expect_no_reply().await?;
    ensure!(api.count(EventKind::Disconnect).await? == 0, "$disconnect ran");
    Ok(())
}
