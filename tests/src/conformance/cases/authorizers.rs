//! AU-1 to AU-16, IAM-1 and IAM-2: authorization of connections.

use std::time::Duration;

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::{Value, json};

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

const ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/prod/$connect";

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "AU-1",
        Documented,
        "Only authorizers of type REQUEST exist, and only on `$connect`.",
        SAME_BEHAVIOR,
        |world| kind(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-2",
        Documented,
        "If an identity source is missing or empty, the client gets 401 and the function is not invoked.",
        SAME_BEHAVIOR,
        |world| sources(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-3",
        Reported,
        "Without identity sources the function is invoked for every handshake.",
        SAME_BEHAVIOR,
        |world| once(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-4",
        Documented,
        "An allow continues with `$connect`, a deny returns 403.",
        SAME_BEHAVIOR,
        |world| effects(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-5",
        Documented,
        "A function error with exactly the message `Unauthorized` returns 401, any other 500.",
        SAME_BEHAVIOR,
        |world| failures(world).boxed(),
    ),
    ConformanceRow::holds("AU-6", Reported, "A result that is not a policy returns 500.", SAME_BEHAVIOR, |world| {
        no_policy(world).boxed()
    }),
    ConformanceRow::holds("AU-7", Inferred, "A result without `principalId` returns 500.", SAME_BEHAVIOR, |world| {
        expect_status_for_result(world, json!({"policyDocument": statement("Allow", ARN)}), 500).boxed()
    }),
    ConformanceRow::holds(
        "AU-8",
        Documented,
        "A context with an object or array returns 500.",
        SAME_BEHAVIOR,
        |world| bad_context(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-9",
        Documented,
        "The policy is evaluated for `execute-api:Invoke` on the stage's `$connect`, with wildcards `*` and `?`; a deny wins.",
        "the same; a statement with a condition never allows, and a deny with a condition denies",
        |world| policies(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-10",
        Documented,
        "A result larger than 8 KB is rejected.",
        "500; a result of an in-process handler is measured as its JSON",
        |world| too_large(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-11",
        Documented,
        "Results are not cached: the function runs once per connection.",
        SAME_BEHAVIOR,
        |world| no_cache(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-12",
        Documented,
        "The authorizer runs neither before messages nor before `$disconnect`.",
        SAME_BEHAVIOR,
        |world| once(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-13",
        Documented,
        "The authorizer's request contains the id of the future connection.",
        SAME_BEHAVIOR,
        |world| kind(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-14",
        Documented,
        "`usageIdentifierKey` of the result selects the API key if the API is configured for it.",
        SAME_BEHAVIOR,
        |world| super::keys::key_selected_by_authorizer(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-15",
        Unknown,
        "The timeout of an authorizer is documented for HTTP APIs only (10 s).",
        "10 s, then 500; the case uses 200 ms",
        |world| timed_out(world).boxed(),
    ),
    ConformanceRow::holds(
        "AU-16",
        Reported,
        "After a rejection neither `$connect` nor `$disconnect` runs (one report of 2019 disagrees).",
        "neither runs",
        |world| nothing_else_runs(world).boxed(),
    ),
    ConformanceRow::holds(
        "IAM-1",
        Documented,
        "A route with `AWS_IAM` requires a SigV4 signature in headers or query.",
        SAME_BEHAVIOR,
        |world| super::signatures::connect(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "IAM-2",
        Documented,
        "A change of the authorization type takes effect with the next deployment.",
        "the configuration is fixed while the process runs",
    ),
];

/// Returns a directive that makes the authorizer allow a connection with this context.
pub(super) fn allow(context: Value) -> Value {
    json!({"authorizer": {"return": {"principalId": "alice", "policyDocument": statement("Allow", ARN), "context": context}}})
}

fn statement(effect: &str, resource: &str) -> Value {
    document(&[json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource})])
}

fn document(statements: &[Value]) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Connects with an authorizer that returns `result`, and checks the status (101 when accepted).
async fn expect_status_for_result(world: &CaseWorld, result: Value, status: u16) -> anyhow::Result<()> {
    expect_status(world, json!({"return": result}), status).await
}

async fn expect_status(world: &CaseWorld, answer: Value, status: u16) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let dial = HandshakeBuilder::new().probe(json!({"authorizer": answer}));
    let seen =
        if status == 101 { api.dial(dial).await?.head.status } else { api.expect_rejection(dial).await?.head.status };
    ensure!(seen == status, "{answer} returned {seen}");
    ensure!(api.count(EventKind::Authorizer).await? == 1, "the authorizer was not invoked");
    ensure!(api.count(EventKind::Connect).await? == usize::from(status == 101), "wrong number of $connect invocations");
    Ok(())
}

async fn kind(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let (_client, connect) = api.connected(HandshakeBuilder::new().probe(allow(json!({})))).await?;
    let request = api.next(EventKind::Authorizer).await?;
    ensure!(request.value["type"] == "REQUEST" && request.context("routeKey") == "$connect", "{}", request.raw);
    for field in ["connectionId", "connectedAt", "stage", "apiId", "domainName"] {
        let (authorizer, connect) = (&request.value["requestContext"][field], &connect.value["requestContext"][field]);
        ensure!(authorizer == connect, "{field} is {authorizer} for the authorizer and {connect} for $connect");
    }
    Ok(())
}

async fn sources(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&["route.request.header.Auth", "route.request.querystring.token"])).await?;
    let dial = || HandshakeBuilder::new().probe(allow(json!({})));
    let incomplete = [
        dial(),
        dial().header("Auth", "x"),
        dial().query("token=x"),
        dial().header("Auth", "x").query("token="),
        dial().header("Auth", "").query("token=x"),
    ];
    for dial in incomplete {
        let rejection = api.expect_rejection(dial.clone()).await?;
        ensure!(rejection.head.status == 401, "{dial:?} returned {}", rejection.head.status);
    }
    ensure!(api.count(EventKind::Authorizer).await? == 0, "the function was invoked");
    api.dial(dial().header("auth", "x").query("token=x")).await?;
    ensure!(api.count(EventKind::Authorizer).await? == 1, "the function was not invoked");
    Ok(())
}

/// Checks that the authorizer runs once per connection, whatever happens on it.
pub(super) async fn once(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let mut client = api.dial(HandshakeBuilder::new().probe(allow(json!({})))).await?;
    for _ in 0..3 {
        client.expect_no_reply().await?;
    }
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    let invocations = api.count(EventKind::Authorizer).await?;
    ensure!(invocations == 1, "the authorizer ran {invocations} times");
    Ok(())
}

async fn effects(world: &CaseWorld) -> anyhow::Result<()> {
    expect_status_for_result(world, json!({"principalId": "a", "policyDocument": statement("Allow", ARN)}), 101)
        .await?;
    expect_status_for_result(world, json!({"principalId": "a", "policyDocument": statement("Deny", ARN)}), 403).await
}

async fn failures(world: &CaseWorld) -> anyhow::Result<()> {
    expect_status(world, json!({"throw": "Unauthorized"}), 401).await?;
    for message in ["unauthorized", "Unauthorized.", "no", ""] {
        expect_status(world, json!({"throw": message}), 500).await?;
    }
    expect_status(world, json!({"refuse": "crash"}), 500).await
}

async fn no_policy(world: &CaseWorld) -> anyhow::Result<()> {
    let no_effect = document(&[json!({"Action": "execute-api:Invoke", "Resource": "*"})]);
    let results = [
        json!({"statusCode": 401}),
        json!(null),
        json!("allow"),
        json!({"principalId": "a"}),
        json!({"principalId": "a", "policyDocument": {}}),
        json!({"principalId": "a", "policyDocument": no_effect}),
    ];
    for result in results {
        expect_status_for_result(world, result, 500).await?;
    }
    Ok(())
}

async fn bad_context(world: &CaseWorld) -> anyhow::Result<()> {
    for value in [json!({"a": {}}), json!({"a": []}), json!([]), json!("text")] {
        let policy = statement("Allow", ARN);
        expect_status_for_result(world, json!({"principalId": "a", "policyDocument": policy, "context": value}), 500)
            .await?;
    }
    Ok(())
}

async fn policies(world: &CaseWorld) -> anyhow::Result<()> {
    let single =
        |action: &str, resource: &str| document(&[json!({"Action": action, "Effect": "Allow", "Resource": resource})]);
    let invoke = "execute-api:Invoke";
    let both = document(&[
        json!({"Action": invoke, "Effect": "Allow", "Resource": "*"}),
        json!({"Action": [invoke], "Effect": "Deny", "Resource": [ARN]}),
    ]);
    let other_stage = ARN.replace("/prod/", "/dev/");
    let conditional =
        document(&[json!({"Action": invoke, "Effect": "Allow", "Resource": "*", "Condition": {"Bool": {}}})]);
    let policies = [
        (single(invoke, "*"), 101),
        (single("*", "*"), 101),
        (single("execute-api:*", "arn:aws:execute-api:*:*:*/prod/$connect"), 101),
        (single(invoke, "arn:aws:execute-api:us-east-1:123456789012:a1b2c3d4e5/*"), 101),
        (single(invoke, &ARN.replace("a1b2c3d4e5", "a1b2c3d4e?")), 101),
        (json!({"Version": "2012-10-17", "Statement": {"Action": invoke, "Effect": "Allow", "Resource": "*"}}), 101),
        (single("execute-api:ManageConnections", "*"), 403),
        (single(invoke, &other_stage), 403),
        (document(&[]), 403),
        (both, 403),
        (conditional, 403),
    ];
    for (policy, status) in policies {
        expect_status_for_result(world, json!({"principalId": "a", "policyDocument": policy}), status).await?;
    }
    Ok(())
}

pub(super) async fn too_large(world: &CaseWorld) -> anyhow::Result<()> {
    let result = json!({"principalId": "a", "policyDocument": statement("Allow", ARN)});
    let rest = result.to_string().len() + r#","context":{"text":""}"#.len();
    // An in-process result is a typed value; its JSON is slightly larger than the returned text.
    for (bytes, status) in [(8 * 1024 + 1, 500), (8 * 1024 - 128, 101)] {
        expect_status(world, json!({"return": result, "pad": bytes - rest}), status).await?;
    }
    Ok(())
}

async fn no_cache(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&["route.request.header.Auth"])).await?;
    for _ in 0..3 {
        api.dial(HandshakeBuilder::new().header("Auth", "the same").probe(allow(json!({})))).await?;
    }
    let invocations = api.count(EventKind::Authorizer).await?;
    ensure!(invocations == 3, "the authorizer ran {invocations} times for 3 connections");
    Ok(())
}

async fn timed_out(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = ApiSpec::special("shorter timeouts", |spec| {
        spec.definition.authorizer = Some(Vec::new());
        spec.definition.quotas.authorizer_timeout = Duration::from_millis(200);
    });
    let api = world.api(spec).await?;
    let rejection = api.expect_rejection(HandshakeBuilder::new().probe(json!({"authorizer": {"after": 2000}}))).await?;
    ensure!(rejection.head.status == 500, "the status is {}", rejection.head.status);
    Ok(())
}

async fn nothing_else_runs(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let denied = json!({"principalId": "a", "policyDocument": statement("Deny", ARN)});
    api.expect_rejection(HandshakeBuilder::new().probe(json!({"authorizer": {"return": denied}}))).await?;
    // Further invocations for the rejected handshake would have happened within the life of another connection.
    let mut client = api.dial(HandshakeBuilder::new().probe(allow(json!({})))).await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    let ran = (api.count(EventKind::Connect).await?, api.count(EventKind::Disconnect).await?);
    ensure!(ran == (1, 1), "$connect and $disconnect ran {ran:?} times for one connection");
    Ok(())
}
