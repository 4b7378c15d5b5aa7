//! The close codes of section 4, as the client sees them.

use std::time::Duration;

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;

use crate::conformance::client::{Dial, Incoming};
use crate::conformance::row::{Mark::*, Row, SAME};
use crate::conformance::spec::Spec;
use crate::conformance::world::World;
use crate::websocket::{Frame, opcode};

pub(super) const ROWS: &[Row] = &[
    Row::holds(
        "4-C1",
        Reported,
        "`DELETE @connections` closes with 1000, probably with the reason `Connection Closed Normally`.",
        SAME,
        |world| deleted(world).boxed(),
    ),
    Row::holds(
        "4-C2",
        Reported,
        "Ten minutes without a message close with 1001 `Going away`.",
        "the same; here the ten minutes are 300 ms",
        |world| idle(world).boxed(),
    ),
    Row::holds(
        "4-C3",
        Inferred,
        "The end of the 2 hours closes with 1001 `Going away`.",
        "the same; here the 2 hours are 300 ms",
        |world| lifetime(world).boxed(),
    ),
    Row::differs(
        "4-C4",
        Reported,
        "Maintenance of the gateway closes connections, with 1001 by deduction.",
        "a server that stops closes with 1012 `Service restart`",
        "1012 tells clients that another server takes over now, so that they come back at once and resume",
        |world| stopping(world).boxed(),
    ),
    Row::holds("4-C5", Documented, "A binary frame closes with 1003.", "the same; the reason text is ours", |world| {
        with_code(world, Frame::new(opcode::BINARY, "x"), 1003).boxed()
    }),
    Row::holds(
        "4-C6",
        Documented,
        "Too large a frame or message closes with 1009.",
        "the same; the reason text is ours",
        |world| with_code(world, Frame::new(opcode::TEXT, "x".repeat(40_000)), 1009).boxed(),
    ),
    Row::holds(
        "4-C7",
        Documented,
        "1006 is what a client's library reports when the handshake was refused or the network broke.",
        "the same: no such code is ever sent",
        |world| no_1006(world).boxed(),
    ),
];

async fn deleted(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    api.delete(&id).await?;
    let closed = client.closed().await?;
    ensure!(closed == (1000, "Connection Closed Normally".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn idle(world: &World) -> anyhow::Result<()> {
    let api = world.api(Spec::compressed(Duration::from_millis(300), Duration::from_secs(60))).await?;
    let closed = api.connect().await?.closed().await?;
    ensure!(closed == (1001, "Going away".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn lifetime(world: &World) -> anyhow::Result<()> {
    let api = world.api(Spec::compressed(Duration::from_secs(60), Duration::from_millis(300))).await?;
    let closed = api.connect().await?.closed().await?;
    ensure!(closed == (1001, "Going away".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn stopping(world: &World) -> anyhow::Result<()> {
    world.only_here("a gateway that can be stopped")?;
    let api = world.standard().await?;
    let mut client = api.connect().await?;
    client.heard_nothing().await?;
    let (_, closed) = tokio::join!(world.close(), client.closed());
    let closed = closed?;
    ensure!(closed == (1012, "Service restart".to_owned()), "closed with {closed:?}");
    Ok(())
}

async fn with_code(world: &World, frame: Frame, code: u16) -> anyhow::Result<()> {
    super::frames::closes(world, &[frame], code).await?;
    Ok(())
}

async fn no_1006(world: &World) -> anyhow::Result<()> {
    let api = world.standard().await?;
    let refusal = api.refused(Dial::new().path("/nowhere")).await?;
    ensure!(refusal.head.status == 403 && !refusal.body.starts_with(&[0x88]), "a close frame came");
    let mut client = api.connect().await?;
    // A client that sends what it may not send (1006 is reserved, RFC 6455 section 7.4.1) gets no such code back.
    client.send(&[Frame::close(Some((1006, "")))]).await?;
    match client.next().await? {
        Incoming::Close(1002, _) | Incoming::End => Ok(()),
        other => bail!("a close frame with 1006 was answered {other:?}"),
    }
}
