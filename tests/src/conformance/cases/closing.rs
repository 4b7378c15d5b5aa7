//! The close codes of section 4, as the client sees them.

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
        "the same; here the ten minutes are 300 ms",
        |world| idle(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-C3",
        Inferred,
        "The end of the 2 hours closes with 1001 `Going away`.",
        "the same; here the 2 hours are 300 ms",
        |world| lifetime(world).boxed(),
    ),
    ConformanceRow::differs(
        "4-C4",
        Reported,
        "Maintenance of the gateway closes connections, with 1001 by deduction.",
        "a server that stops closes with 1012 `Service restart`",
        "1012 tells clients that another server takes over now, so that they come back at once and resume",
        |world| stopping(world).boxed(),
    ),
    ConformanceRow::holds(
        "4-C5",
        Documented,
        "A binary frame closes with 1003.",
        "the same; the reason text is ours",
        |world| with_code(world, RawFrame::new(opcode::BINARY, "x"), 1003).boxed(),
    ),
    ConformanceRow::holds(
        "4-C6",
        Documented,
        "Too large a frame or message closes with 1009.",
        "the same; the reason text is ours",
        |world| with_code(world, RawFrame::new(opcode::TEXT, "x".repeat(40_000)), 1009).boxed(),
    ),
    ConformanceRow::holds(
        "4-C7",
        Documented,
        "1006 is what a client's library reports when the handshake was refused or the network broke.",
        "the same: no such code is ever sent",
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
    let api = world.api(ApiSpec::compressed(Duration::from_millis(300), Duration::from_secs(60))).await?;
    let closed = api.connect().await?.expect_close().await?;
    ensure!(closed == (1001, "Going away".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn lifetime(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::compressed(Duration::from_secs(60), Duration::from_millis(300))).await?;
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
    let refusal = api.expect_rejection(HandshakeBuilder::new().path("/nowhere")).await?;
    ensure!(refusal.head.status == 403 && !refusal.body.starts_with(&[0x88]), "a close frame came");
    let mut client = api.connect().await?;
    // A client that sends what it may not send (1006 is reserved, RFC 6455 section 7.4.1) gets no such code back.
    client.send(&[RawFrame::close(Some((1006, "")))]).await?;
    match client.next().await? {
        ReceivedItem::Close(1002, _) | ReceivedItem::End => Ok(()),
        other => bail!("a close frame with 1006 was answered {other:?}"),
    }
}
