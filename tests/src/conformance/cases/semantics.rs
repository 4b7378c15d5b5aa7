//! CX-30 to CX-37: effects of `@connections` calls on the connection.

use anyhow::ensure;
use futures_util::FutureExt as _;

use super::failures::expect_gone;
use crate::conformance::client::ManagementRequest;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "CX-30",
        Inferred,
        "A post returns when the gateway has the data, not when the client has read it.",
        SAME_BEHAVIOR,
        |world| unread(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-31",
        Inferred,
        "Sequential posts of one caller arrive in order.",
        SAME_BEHAVIOR,
        |world| sequential_posts(world).boxed(),
    ),
    ConformanceRow::not_applicable(
        "CX-32",
        Reported,
        "A handler that returns before its posts complete may lose them, because its environment is frozen.",
        "in-process handlers are never frozen; their posts complete",
    ),
    ConformanceRow::holds(
        "CX-33",
        Reported,
        "DELETE closes with 1000 and `Connection Closed Normally`; the caller can choose neither code nor reason.",
        SAME_BEHAVIOR,
        |world| delete_ends(world).boxed(),
    ),
    ConformanceRow::holds("CX-34", Documented, "DELETE triggers `$disconnect`.", SAME_BEHAVIOR, |world| {
        delete_ends(world).boxed()
    }),
    ConformanceRow::holds("CX-35", Documented, "DELETE of a closed connection: 410.", SAME_BEHAVIOR, |world| {
        gone_after_close(world).boxed()
    }),
    ConformanceRow::holds(
        "CX-36",
        Reported,
        "After a clean close posts return 410 at once; after a silent loss they succeed until it is detected.",
        SAME_BEHAVIOR,
        |world| gone_after_close(world).boxed(),
    ),
    ConformanceRow::holds(
        "CX-37",
        Reported,
        "A post resets the idle timeout.",
        "the same; the case uses 800 ms",
        |world| post_is_activity(world).boxed(),
    ),
];

async fn unread(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (_never_reads, id) = api.connect_with_id().await?;
    for _ in 0..10 {
        ensure!(api.post(&id, "x".repeat(1000)).await?.head.status == 200, "a post waited until the client read it");
    }
    Ok(())
}

async fn sequential_posts(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    for number in 0..50 {
        api.post(&id, number.to_string()).await?;
    }
    for number in 0..50 {
        ensure!(client.text().await? == number.to_string(), "{number} arrived out of order");
    }
    Ok(())
}

async fn delete_ends(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    api.call(ManagementRequest::new("DELETE", &api.endpoint, &id).body(r#"{"code": 4000, "reason": "mine"}"#)).await?;
    let expected = (1000, "Connection Closed Normally".to_owned());
    ensure!(client.expect_close().await? == expected, "the client received another close frame");
    let event = api.next(EventKind::Disconnect).await?;
    let status_and_reason = (event.number("disconnectStatusCode"), event.context("disconnectReason"));
    ensure!(status_and_reason == (1000, "Connection Closed Normally"), "{}", event.raw);
    Ok(())
}

pub(super) async fn gone_after_close(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    client.close(None).await?;
    api.next(EventKind::Disconnect).await?;
    for method in ["POST", "GET", "DELETE"] {
        expect_gone(&api.call(ManagementRequest::new(method, &api.endpoint, &id)).await?)?;
    }
    let (_client, id) = api.connect_with_id().await?;
    api.delete(&id).await?;
    expect_gone(&api.delete(&id).await?)
}

async fn post_is_activity(world: &CaseWorld) -> anyhow::Result<()> {
    super::timers::posts_keep_open(world).await
}
