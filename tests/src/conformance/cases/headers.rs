//! HDR-1 to HDR-9: headers in events.

use anyhow::ensure;
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

/// Headers as sent by a browser, which must arrive unchanged.
const BROWSER: [(&str, &str); 10] = [
    ("Origin", "https://app.example.com"),
    ("Cookie", "a=1; b=2"),
    ("User-Agent", "Mozilla/5.0"),
    ("Authorization", "Bearer abc"),
    ("Accept-Language", "en-GB,en;q=0.5"),
    ("Cache-Control", "no-cache"),
    ("Pragma", "no-cache"),
    ("Sec-Fetch-Mode", "websocket"),
    ("Sec-WebSocket-Protocol", "a, b"),
    ("x-api-key", "k-1"),
];

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "HDR-1",
        Documented,
        "CONNECT has Host, the WebSocket key and version, a trace id, and the three `X-Forwarded-` headers.",
        "the same; port 443 and `https` are reported for every listener, as handlers expect",
        |world| always(world).boxed(),
    ),
    ConformanceRow::holds(
        "HDR-2",
        Documented,
        "`Connection`, `Upgrade` and `content-length` are present in the authorizer's request and absent from CONNECT.",
        SAME_BEHAVIOR,
        |world| hop_by_hop(world).boxed(),
    ),
    ConformanceRow::holds(
        "HDR-3",
        Reported,
        "All other headers of the client are forwarded unchanged.",
        SAME_BEHAVIOR,
        |world| pass_through(world).boxed(),
    ),
    ConformanceRow::differs(
        "HDR-4",
        Reported,
        "Header names have the case in which the client sent them.",
        "names that clients usually write in mixed case get that case; all others are in lower case",
        "the HTTP parser does not preserve case; AWS's own samples convert names to lower case first",
        |world| case(world).boxed(),
    ),
    ConformanceRow::holds("HDR-5", Reported, "Header names are sorted case-insensitively.", SAME_BEHAVIOR, |world| {
        sorted(world).boxed()
    }),
    ConformanceRow::holds(
        "HDR-6",
        Reported,
        "`headers` has the last value of a repeated header, `multiValueHeaders` an array of all.",
        SAME_BEHAVIOR,
        |world| repeated(world).boxed(),
    ),
    ConformanceRow::holds(
        "HDR-7",
        Reported,
        "`Sec-WebSocket-Protocol` is one string as sent by the client, spaces included.",
        SAME_BEHAVIOR,
        |world| subprotocols_as_sent(world).boxed(),
    ),
    ConformanceRow::holds(
        "HDR-8",
        Documented,
        "DISCONNECT has exactly four headers: Host and three empty ones.",
        SAME_BEHAVIOR,
        |world| disconnect(world).boxed(),
    ),
    ConformanceRow::holds(
        "HDR-9",
        Documented,
        "`X-Forwarded-For` is the client's address, or a list if the client is behind a proxy.",
        "the same; a list is accepted from proxies that are configured as trusted only, without what the client wrote",
        |world| forwarded_for(world).boxed(),
    ),
];

async fn always(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new()).await?;
    let headers = &event.value["headers"];
    ensure!(headers["Sec-WebSocket-Version"] == "13" && headers["Sec-WebSocket-Key"].is_string(), "{headers}");
    ensure!(headers["X-Forwarded-Port"] == "443" && headers["X-Forwarded-Proto"] == "https", "{headers}");
    ensure!(headers["Host"] == event.context("domainName"), "{headers}");
    ensure!(headers["X-Forwarded-For"] == event.value["requestContext"]["identity"]["sourceIp"], "{headers}");
    let trace = headers["X-Amzn-Trace-Id"].as_str().unwrap_or_default();
    let parts: Vec<_> = trace.strip_prefix("Root=").unwrap_or_default().split('-').map(str::len).collect();
    ensure!(parts == [1, 8, 24], "the trace id is {trace:?}");
    ensure!(event.keys("/headers")? == event.keys("/multiValueHeaders")?, "{}", event.raw);
    Ok(())
}

async fn hop_by_hop(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let (_client, connect) = api.connected(HandshakeBuilder::new().probe(super::authorizers::allow(json!({})))).await?;
    let request = api.next(EventKind::Authorizer).await?;
    for (name, value) in [("Connection", "upgrade"), ("Upgrade", "websocket"), ("content-length", "0")] {
        ensure!(request.value["headers"][name] == value, "{}", request.raw);
        ensure!(request.value["multiValueHeaders"][name] == json!([value]), "{}", request.raw);
        ensure!(!connect.has(&format!("/headers/{name}")), "{}", connect.raw);
        ensure!(!connect.has(&format!("/multiValueHeaders/{name}")), "{}", connect.raw);
    }
    Ok(())
}

async fn from_browser(world: &CaseWorld) -> anyhow::Result<Event> {
    let api = world.standard().await?;
    let dial = BROWSER.iter().fold(HandshakeBuilder::new(), |dial, (name, value)| dial.header(name, value));
    let (_client, event) = api.connected(dial).await?;
    Ok(event)
}

async fn pass_through(world: &CaseWorld) -> anyhow::Result<()> {
    let event = from_browser(world).await?;
    for (name, value) in BROWSER {
        ensure!(event.value["headers"][name] == value, "{name} is {}", event.value["headers"][name]);
    }
    Ok(())
}

async fn case(world: &CaseWorld) -> anyhow::Result<()> {
    let names = from_browser(world).await?.keys("/headers")?;
    for (name, _) in BROWSER {
        ensure!(names.iter().any(|seen| seen == name), "{name} is not among {names:?}");
    }
    world.require_local_gateway("a check of deliberate differences")?;
    let api = world.standard().await?;
    let (_client, event) =
        api.connected(HandshakeBuilder::new().header("X-Custom-Thing", "1").header("origin", "null")).await?;
    ensure!(event.has("/headers/x-custom-thing") && event.has("/headers/Origin"), "{}", event.raw);
    Ok(())
}

async fn sorted(world: &CaseWorld) -> anyhow::Result<()> {
    let event = from_browser(world).await?;
    for map in ["/headers", "/multiValueHeaders"] {
        let names: Vec<_> = event.keys(map)?.iter().map(|name| name.to_ascii_lowercase()).collect();
        ensure!(names.is_sorted(), "{map} has the order {names:?}");
    }
    Ok(())
}

async fn repeated(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().header("x-tag", "one").header("x-tag", "two")).await?;
    ensure!(event.value["headers"]["x-tag"] == "two", "{}", event.raw);
    ensure!(event.value["multiValueHeaders"]["x-tag"] == json!(["one", "two"]), "{}", event.raw);
    Ok(())
}

async fn subprotocols_as_sent(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let offered = "actioncable-v1-json,  actioncable-unsupported";
    let (_client, event) = api.connected(HandshakeBuilder::new().header("Sec-WebSocket-Protocol", offered)).await?;
    ensure!(event.value["headers"]["Sec-WebSocket-Protocol"] == offered, "{}", event.raw);
    ensure!(event.value["multiValueHeaders"]["Sec-WebSocket-Protocol"] == json!([offered]), "{}", event.raw);
    Ok(())
}

async fn disconnect(world: &CaseWorld) -> anyhow::Result<()> {
    let [connect, _, event] = super::context::one_of_each(world).await?;
    let names = ["Host", "x-api-key", "X-Forwarded-For", "x-restapi"];
    ensure!(event.keys("/headers")? == names && event.keys("/multiValueHeaders")? == names, "{}", event.raw);
    ensure!(event.value["headers"]["Host"] == connect.context("domainName"), "{}", event.raw);
    for name in &names[1..] {
        ensure!(event.value["headers"][name] == "", "{}", event.raw);
        ensure!(event.value["multiValueHeaders"][name] == json!([""]), "{}", event.raw);
    }
    Ok(())
}

async fn forwarded_for(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("trusted proxies")?;
    let (forged, list) = ("198.51.100.1", "203.0.113.7, 10.0.0.9");
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().header("X-Forwarded-For", list)).await?;
    ensure!(event.value["headers"]["X-Forwarded-For"] == "127.0.0.1", "{}", event.raw);
    let api = world.api(ApiSpec::special("trusted proxies", |spec| spec.trusted_hops = 2)).await?;
    let dial = HandshakeBuilder::new().header("X-Forwarded-For", forged).header("X-Forwarded-For", list);
    let (_client, event) = api.connected(dial).await?;
    ensure!(event.value["headers"]["X-Forwarded-For"] == list, "{}", event.raw);
    ensure!(event.value["requestContext"]["identity"]["sourceIp"] == "203.0.113.7", "{}", event.raw);
    Ok(())
}
