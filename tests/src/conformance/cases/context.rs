//! EV-10 to EV-16 and ORD-1: fields of `requestContext`.

use anyhow::{Context as _, ensure};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::conformance::client::HandshakeBuilder;
use crate::conformance::event::{Event, EventKind};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;

/// Fields that every event of a connection has in its context.
const ALWAYS: [&str; 13] = [
    "apiId",
    "connectedAt",
    "connectionId",
    "domainName",
    "eventType",
    "extendedRequestId",
    "identity",
    "messageDirection",
    "requestId",
    "requestTime",
    "requestTimeEpoch",
    "routeKey",
    "stage",
];

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "EV-10",
        Documented,
        "`requestContext` has 13 fields on every event; MESSAGE adds `messageId`, DISCONNECT code and reason; nothing else.",
        SAME_BEHAVIOR,
        |world| fields(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-11",
        Documented,
        "`requestId` and `extendedRequestId` are equal.",
        SAME_BEHAVIOR,
        |world| request_ids(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-12",
        Documented,
        "`requestTime` is UTC in common log format and the same second as `requestTimeEpoch`.",
        SAME_BEHAVIOR,
        |world| request_times(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-13",
        Reported,
        "On CONNECT the event's time is 0 to 8 ms after `connectedAt`.",
        "the same on an idle host; the case allows a second",
        |world| connect_time(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-14",
        Reported,
        "`connectedAt` is the time of the upgrade request, before the handshake was accepted, and is constant.",
        SAME_BEHAVIOR,
        |world| connected_at(world).boxed(),
    ),
    ConformanceRow::holds(
        "EV-15",
        Reported,
        "On a custom domain `domainName` and `Host` are that domain, while `stage` and `apiId` are the real ones.",
        SAME_BEHAVIOR,
        |world| custom_domain(world).boxed(),
    ),
    ConformanceRow::holds("EV-16", Reported, "`domainName` has neither port nor scheme.", SAME_BEHAVIOR, |world| {
        no_port(world).boxed()
    }),
    ConformanceRow::holds(
        "ORD-1",
        Reported,
        "`authorizer` directly follows `routeKey`, on DISCONNECT `disconnectStatusCode`.",
        SAME_BEHAVIOR,
        |world| authorizer_position(world).boxed(),
    ),
];

/// Returns a CONNECT, a MESSAGE and a DISCONNECT event of one connection.
pub(super) async fn one_of_each(world: &CaseWorld) -> anyhow::Result<[Event; 3]> {
    let api = world.standard().await?;
    let (mut client, connect) = api.connected(HandshakeBuilder::new()).await?;
    client.send_directive(json!({})).await?;
    let message = api.next(EventKind::Message).await?;
    client.close(None).await?;
    Ok([connect, message, api.next(EventKind::Disconnect).await?])
}

async fn fields(world: &CaseWorld) -> anyhow::Result<()> {
    let kinds: [(&str, &[&str]); 3] =
        [("CONNECT", &[]), ("MESSAGE", &["messageId"]), ("DISCONNECT", &["disconnectReason", "disconnectStatusCode"])];
    for (event, (kind, more)) in one_of_each(world).await?.into_iter().zip(kinds) {
        let mut expected: Vec<_> = ALWAYS.iter().chain(more).copied().collect();
        expected.sort_unstable();
        let mut keys = event.keys("/requestContext")?;
        keys.sort_unstable();
        ensure!(keys == expected, "{kind} has {keys:?}");
        ensure!(event.context("eventType") == kind && event.context("messageDirection") == "IN", "{}", event.raw);
        ensure!(event.value["isBase64Encoded"] == false, "{}", event.raw);
    }
    Ok(())
}

async fn request_ids(world: &CaseWorld) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    for event in one_of_each(world).await? {
        let id = event.context("requestId").to_owned();
        ensure!(!id.is_empty() && id == event.context("extendedRequestId"), "{}", event.raw);
        ensure!(!seen.contains(&id), "{id} was used twice");
        seen.push(id);
    }
    Ok(())
}

async fn request_times(world: &CaseWorld) -> anyhow::Result<()> {
    for event in one_of_each(world).await? {
        let text = event.context("requestTime");
        let seconds = common_log_seconds(text).with_context(|| format!("{text:?} is not a time"))?;
        ensure!(seconds == event.number("requestTimeEpoch").div_euclid(1000), "{}", event.raw);
    }
    Ok(())
}

async fn connect_time(world: &CaseWorld) -> anyhow::Result<()> {
    let [connect, ..] = one_of_each(world).await?;
    let after = connect.number("requestTimeEpoch") - connect.number("connectedAt");
    ensure!((0..=1000).contains(&after), "the event is {after} ms after connectedAt");
    Ok(())
}

async fn connected_at(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let mut client = api.dial(HandshakeBuilder::new().probe(json!({"connect": {"after": 100}}))).await?;
    client.send_directive(json!({})).await?;
    let (connect, message) = (api.next(EventKind::Connect).await?, api.next(EventKind::Message).await?);
    client.close(None).await?;
    let connected_at = connect.number("connectedAt");
    for event in [&message, &api.next(EventKind::Disconnect).await?] {
        ensure!(event.number("connectedAt") == connected_at, "{}", event.raw);
    }
    let waited = message.number("requestTimeEpoch") - connected_at;
    ensure!(waited >= 90, "connectedAt is {waited} ms before the first message, and $connect took 100 ms");
    Ok(())
}

async fn custom_domain(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a custom domain")?;
    let api = world.standard().await?;
    let (_client, event) = api.connected(HandshakeBuilder::new().host("chat.example.com")).await?;
    ensure!(event.context("domainName") == "chat.example.com", "{}", event.raw);
    ensure!(event.value["headers"]["Host"] == "chat.example.com", "{}", event.raw);
    ensure!(event.context("stage") == "prod" && event.context("apiId") == "a1b2c3d4e5", "{}", event.raw);
    Ok(())
}

async fn no_port(world: &CaseWorld) -> anyhow::Result<()> {
    for event in one_of_each(world).await? {
        let domain = event.context("domainName");
        ensure!(!domain.is_empty() && !domain.contains(':') && !domain.contains('/'), "domainName is {domain}");
    }
    Ok(())
}

async fn authorizer_position(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::authorized(&[])).await?;
    let mut client = api.dial(HandshakeBuilder::new().probe(super::authorizers::allow(json!({})))).await?;
    client.close(None).await?;
    let connect = api.next(EventKind::Connect).await?.keys("/requestContext")?;
    ensure!(connect[..2] == ["routeKey", "authorizer"], "CONNECT begins with {connect:?}");
    let disconnect = api.next(EventKind::Disconnect).await?.keys("/requestContext")?;
    let expected = ["routeKey", "disconnectStatusCode", "authorizer"];
    ensure!(disconnect[..3] == expected, "DISCONNECT begins with {disconnect:?}");
    Ok(())
}

/// Parses a time such as `11/Nov/2024:11:35:24 +0000` and returns seconds since 1970.
fn common_log_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = text.strip_suffix(" +0000").filter(|text| text.len() == 20)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let month = MONTHS.iter().position(|month| text.get(3..6) == Some(month))? as i64 + 1;
    let (day, year) = (number(0, 2)?, number(7, 11)?);
    // Days from civil (Hinnant, "chrono-compatible low-level date algorithms"): years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + number(12, 14)?) * 60 + number(15, 17)?) * 60 + number(18, 20)?)
}

#[cfg(test)]
mod tests {
    use super::common_log_seconds;

    #[test]
    fn common_log_times_are_parsed() {
        assert_eq!(common_log_seconds("11/Nov/2024:11:35:24 +0000"), Some(1_731_324_924));
        assert_eq!(common_log_seconds("29/Feb/2024:00:00:00 +0000"), Some(1_709_164_800));
        assert_eq!(common_log_seconds("1/Nov/2024:11:35:24 +0000"), None);
    }
}
