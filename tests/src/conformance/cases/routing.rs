//! RT-1 to RT-14: route selection of messages.

use anyhow::ensure;
use futures_util::FutureExt as _;
use gateway::route::{RouteKey, RouteResponse};
use serde_json::json;

use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "RT-1",
        Documented,
        "A selection expression combines variables, with or without braces, and literals; `\\$` is a dollar sign.",
        SAME_BEHAVIOR,
        |world| expressions(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-2",
        Documented,
        "A variable without a value is the empty string.",
        SAME_BEHAVIOR,
        |world| missing(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-3",
        Documented,
        "The value is converted to text: an array is `[item1, item2]`; numbers and booleans presumably stay as written.",
        "the same; an object stays JSON, `null` is the empty string",
        |world| stringified(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-4",
        Documented,
        "A route key must match exactly; otherwise the message goes to `$default`.",
        SAME_BEHAVIOR,
        |world| exact(world).boxed(),
    ),
    ConformanceRow::holds("RT-5", Documented, "Text that is not JSON goes to `$default`.", SAME_BEHAVIOR, |world| {
        defaults(world, &["hello", "", "{", "{\"action\":\"chat\"} x", "{action:\"chat\"}"]).boxed()
    }),
    ConformanceRow::holds("RT-6", Documented, "JSON without the key goes to `$default`.", SAME_BEHAVIOR, |world| {
        defaults(world, &["{}", "{\"Action\":\"chat\"}", "{\"a\":{\"action\":\"chat\"}}"]).boxed()
    }),
    ConformanceRow::holds(
        "RT-7",
        Reported,
        "An event of `$default` has that route key, not the value.",
        SAME_BEHAVIOR,
        |world| defaults(world, &["{\"action\":\"no such route\"}"]).boxed(),
    ),
    ConformanceRow::holds(
        "RT-8",
        Documented,
        "No match and no `$default`: the error frame `Forbidden`; the connection stays open.",
        SAME_BEHAVIOR,
        |world| no_default(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "RT-9",
        Reported,
        "The same frame appears before a new route is deployed.",
        "routes are fixed while the process runs; the previous row covers a missing route",
    ),
    ConformanceRow::holds(
        "RT-10",
        Documented,
        "The expression is evaluated for messages only, not for `$connect` and `$disconnect`.",
        SAME_BEHAVIOR,
        |world| lifecycle(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-11",
        Inferred,
        "A top-level array, string or number goes to `$default`.",
        SAME_BEHAVIOR,
        |world| defaults(world, &["[\"chat\"]", "\"chat\"", "7", "true", "null"]).boxed(),
    ),
    ConformanceRow::holds(
        "RT-12",
        Unknown,
        "The effect of the actions `$connect` and `$disconnect` in a message is unknown.",
        "they are treated like any other value and go to `$default`, never to a lifecycle route",
        |world| lifecycle_names(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-13",
        Unknown,
        "Duplicate keys, a byte order mark, leading space, deep nesting: unknown.",
        "the last duplicate counts, space is skipped, a byte order mark is invalid JSON, any depth is accepted",
        |world| unusual_json(world).boxed(),
    ),
    ConformanceRow::holds(
        "RT-14",
        Documented,
        "`$request.body.action` is the usual expression; `.message` and `.route` are common.",
        SAME_BEHAVIOR,
        |world| usual(world).boxed(),
    ),
];

/// Returns the route key of the event for `text`.
async fn route_of(api: &Api, text: &str) -> anyhow::Result<String> {
    let mut client = api.connect().await?;
    client.send_text(text).await?;
    Ok(api.next(EventKind::Message).await?.context("routeKey").to_owned())
}

/// Returns an API with this expression and these routes in addition to `$default`.
fn with_routes(expression: &'static str, keys: &'static [&str]) -> ApiSpec {
    ApiSpec::special("an API with other routes", |spec| {
        spec.definition.selection = expression.to_owned();
        for key in keys {
            spec.add(key, RouteResponse::OneWay);
        }
    })
}

async fn routes(world: &CaseWorld, spec: ApiSpec, cases: &[(&str, &str)]) -> anyhow::Result<()> {
    let api = world.api(spec).await?;
    for (text, key) in cases {
        let seen = route_of(&api, text).await?;
        ensure!(seen == *key, "{text} went to {seen}, not to {key}");
    }
    Ok(())
}

async fn defaults(world: &CaseWorld, texts: &[&str]) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for text in texts {
        let seen = route_of(&api, text).await?;
        ensure!(seen == "$default", "{text:?} went to {seen}");
    }
    Ok(())
}

async fn expressions(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = with_routes("${request.body.service}/${request.body.action}", &["chat/join", "/"]);
    routes(world, spec, &[(r#"{"service":"chat","action":"join"}"#, "chat/join"), (r#"{}"#, "/")]).await?;
    let spec = with_routes("v1-$request.body.a.b", &["v1-x", "v1-"]);
    routes(world, spec, &[(r#"{"a":{"b":"x"}}"#, "v1-x"), (r#"{"a":"b"}"#, "v1-")]).await?;
    routes(world, with_routes("\\$default", &[]), &[(r#"{"action":"chat"}"#, "$default")]).await
}

async fn missing(world: &CaseWorld) -> anyhow::Result<()> {
    let spec = with_routes("${request.body.action}-${request.body.x}", &["join-", "join-1"]);
    routes(world, spec, &[(r#"{"action":"join"}"#, "join-"), (r#"{"action":"join","x":1}"#, "join-1")]).await
}

async fn stringified(world: &CaseWorld) -> anyhow::Result<()> {
    let keys = &["[a, b]", "7", "1.0", "true", r#"{"a":1}"#, "é"];
    let cases = [
        (r#"{"action":["a","b"]}"#, "[a, b]"),
        (r#"{"action":7}"#, "7"),
        (r#"{"action":1.0}"#, "1.0"),
        (r#"{"action":true}"#, "true"),
        (r#"{"action":{"a":1}}"#, r#"{"a":1}"#),
        (r#"{"action":"\u00e9"}"#, "é"),
        (r#"{"action":null}"#, "$default"),
    ];
    routes(world, with_routes("$request.body.action", keys), &cases).await
}

async fn exact(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    for (text, key) in [
        (r#"{"action":"chat"}"#, "chat"),
        (r#"{"action":"Chat"}"#, "$default"),
        (r#"{"action":"chat "}"#, "$default"),
        (r#"{"action":"chats"}"#, "$default"),
        (r#"{"action":"c*"}"#, "$default"),
    ] {
        let seen = route_of(&api, text).await?;
        ensure!(seen == key, "{text} went to {seen}");
    }
    Ok(())
}

async fn no_default(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::special("an API without $default", |spec| spec.remove(RouteKey::DEFAULT))).await?;
    let (mut client, id) = api.connect_with_id().await?;
    for text in ["hello", r#"{"action":"none"}"#, r#"{"action":"$connect"}"#, r#"{"action":"$disconnect"}"#] {
        client.send_text(text).await?;
        let frame = client.text().await?;
        let prefix = format!(r#"{{"message": "Forbidden", "connectionId":"{id}", "requestId":""#);
        ensure!(frame.starts_with(&prefix), "{text} got the reply {frame}");
    }
    client.expect_no_reply().await?;
    ensure!(api.count(EventKind::Message).await? == 1, "a message without a route reached a function");
    Ok(())
}

async fn lifecycle(world: &CaseWorld) -> anyhow::Result<()> {
    let [connect, _, disconnect] = super::context::one_of_each(world).await?;
    ensure!(connect.context("routeKey") == "$connect", "{}", connect.raw);
    ensure!(disconnect.context("routeKey") == "$disconnect", "{}", disconnect.raw);
    Ok(())
}

async fn lifecycle_names(world: &CaseWorld) -> anyhow::Result<()> {
    defaults(world, &[r#"{"action":"$connect"}"#, r#"{"action":"$disconnect"}"#, r#"{"action":"$default"}"#]).await
}

async fn unusual_json(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let deep = |depth: usize| format!(r#"{{"a":{}{},"action":"chat"}}"#, "[".repeat(depth), "]".repeat(depth));
    for (text, key) in [
        (r#"{"action":"none","action":"chat"}"#.to_owned(), "chat"),
        (" \r\n\t{\"action\":\"chat\"}\n ".to_owned(), "chat"),
        ("\u{feff}{\"action\":\"chat\"}".to_owned(), "$default"),
        (deep(100), "chat"),
        (deep(10_000), "chat"),
        (r#"{"\u0061ction":"chat"}"#.to_owned(), "chat"),
    ] {
        let seen = route_of(&api, &text).await?;
        ensure!(seen == key, "{} went to {seen}", text.chars().take(80).collect::<String>());
    }
    Ok(())
}

async fn usual(world: &CaseWorld) -> anyhow::Result<()> {
    for (expression, text) in [
        ("$request.body.action", json!({"action": "join"})),
        ("$request.body.message", json!({"message": "join"})),
        ("$request.body.route", json!({"route": "join"})),
    ] {
        routes(world, with_routes(expression, &["join"]), &[(&text.to_string(), "join")]).await?;
    }
    Ok(())
}
