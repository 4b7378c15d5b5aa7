//! 4-C1 to 4-C7: close codes as received by the client.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;

use crate::conformance::client::{HandshakeBuilder, ReceivedItem};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::CaseWorld;
use crate::websocket::{RawFrame, opcode};

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "4-C1",
        Reported,
        "`DELETE @connections` closes with 1000, probably with the reason `Connection Closed Normally`.",
        SAME_BEHAVIOR,
        |world| deleted(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-C2",
        Reported,
        "Ten minutes without a message close with 1001 `Going away`.",
        "the same; the case uses 300 ms",
        |world| idle(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-C3",
        Inferred,
        "The connection lifetime of 2 hours ends with 1001 `Going away`.",
        "the same; the case uses 300 ms",
        |world| lifetime(world).boxed(),
    ),
    ConformanceRow::differs(
        "4-C4",
        Reported,
        "Maintenance of the gateway closes connections, presumably with 1001.",
        "a server that stops closes with 1012 `Service restart`",
        "1012 signals that another server takes over, so clients reconnect at once and resume",
        |world| stopping(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-C5",
        Documented,
        "A binary frame closes with 1003.",
        "the same, with a reason text of the shim",
        |world| with_code(world, RawFrame::new(opcode::BINARY, "x"), 1003).boxed(),
    ),
    ConformanceRow::holds(
        "4-C6",
        Documented,
        "A frame or message above the quota closes with 1009.",
        "the same, with a reason text of the shim",
        |world| with_code(world, RawFrame::new(opcode::TEXT, "x".repeat(40_000)), 1009).boxed(),
    ),
    ConformanceRow::holds(
        "4-C7",
        Documented,
        "Client libraries report 1006 when the handshake was rejected or the network broke.",
        "the same: 1006 is never sent",
        |world| no_1006(world).boxed(),
    ),
];

async fn deleted(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    api.delete(&id).await?;
    let closed = client.expect_close().await?;
    ensure!(closed == (1000, "Connection Closed Normally".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn idle(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(Duration::from_millis(300), Duration::from_secs(60))).await?;
    let closed = api.connect().await?.expect_close().await?;
    ensure!(closed == (1001, "Going away".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn lifetime(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(Duration::from_secs(60), Duration::from_millis(300))).await?;
    let closed = api.connect().await?.expect_close().await?;
    ensure!(closed == (1001, "Going away".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn stopping(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("a gateway that can be stopped")?;
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.expect_no_reply().await?;
    let (_, closed) = tokio::join!(world.close(), client.expect_close());
    let closed = closed?;
    ensure!(closed == (1012, "Service restart".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn with_code(world: &CaseWorld, frame: RawFrame, code: u16) -> anyhow::Result<()> {
    super::frames::closes(world, &[frame], code).await?;
    Ok(())
}

async fn no_1006(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let rejection = api.expect_rejection(HandshakeBuilder::new().path("/nowhere")).await?;
    ensure!(rejection.head.status == 403 && !rejection.body.starts_with(&[0x88]), "a close frame was sent");
    let mut client = api.connect().await?;
    // A client that sends the reserved code 1006 (RFC 6455 section 7.4.1) does not receive it back.
    client.send(&[RawFrame::close(Some((1006, "")))]).await?;
    match client.next().await? {
        ReceivedItem::Close(1002, _) | ReceivedItem::End => Ok(()),
        other => bail!("a close frame with 1006 was answered with {other:?}"),
    }
}
