//! CX-30 to CX-37: what a call of `@connections` does to its connection.

use anyhow::ensure;
use futures_util::FutureExt as _;

use super::failures::gone;
use crate::conformance::client::Call;
use crate::conformance::event::Kind;
use crate::conformance::row::{Mark::*, Row, SAME};
use crate::conformance::world::World;

pub(super) const ROWS: &[Row] = &[
    Row::holds(
        "CX-30",
        Inferred,
        "A post returns when the gateway has the data, not when the client read it.",
        SAME,
        |world| unread(world).boxed(),
    ),
    Row::holds("CX-31", Inferred, "Posts of one caller, awaited one by one, arrive in order.", SAME, |world| {
        in_order(world).boxed()
    }),
    Row::not_applicable(
        "CX-32",
        Reported,
        "A handler that returns before its posts are done may lose them, because its environment is frozen.",
        "handlers in a process are never frozen; their posts go on",
    ),
    Row::holds(
        "CX-33",
        Reported,
        "DELETE closes with 1000 and `Connection Closed Normally`; the caller can give neither code nor reason.",
        SAME,
        |world| delete_ends(world).boxed(),
    ),
    Row::holds("CX-34", Documented, "DELETE sets off `$disconnect`.", SAME, |world| delete_ends(world).boxed()),
    Row::holds("CX-35", Documented, "DELETE of a connection that is closed already: 410.", SAME, |world| {
        gone_at_once(world).boxed()
    }),
    Row::holds(
        "CX-36",
        Reported,
        "After a clean close posts are answered 410 at once; after a silent loss they succeed until it is noticed.",
        SAME,
        |world| gone_at_once(world).boxed(),
    ),
    Row::holds(
        "CX-37",
        Reported,
        "A post starts the idle time anew.",
        "the same; here the ten minutes are 800 ms",
        |world| post_is_activity(world).boxed(),
    ),
];

async fn unread(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (_never_reads, id) = api.identified().await?;
    for _ in 0..10 {
        ensure!(api.post(&id, "x".repeat(1000)).await?.head.status == 200, "a post waited for its reader");
    }
    Ok(())
}

async fn in_order(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    for number in 0..50 {
        api.post(&id, number.to_string()).await?;
    }
    for number in 0..50 {
        ensure!(client.text().await? == number.to_string(), "{number} came at another place");
    }
    Ok(())
}

async fn delete_ends(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    api.call(Call::new("DELETE", &api.place, &id).body(r#"{"code": 4000, "reason": "mine"}"#)).await?;
    let expected = (1000, "Connection Closed Normally".to_owned());
    ensure!(client.closed().await? == expected, "the client saw another end");
    let event = api.next(Kind::Disconnect).await?;
    let told = (event.number("disconnectStatusCode"), event.context("disconnectReason"));
    ensure!(told == (1000, "Connection Closed Normally"), "{}", event.raw);
    Ok(())
}

pub(super) async fn gone_at_once(world: &World) -> anyhow::Result<()> {
    world.calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.identified().await?;
    client.close(None).await?;
    api.next(Kind::Disconnect).await?;
    for method in ["POST", "GET", "DELETE"] {
        gone(&api.call(Call::new(method, &api.place, &id)).await?)?;
    }
    let (_client, id) = api.identified().await?;
    api.delete(&id).await?;
    gone(&api.delete(&id).await?)
}

async fn post_is_activity(world: &World) -> anyhow::Result<()> {
    super::timers::posts_keep_open(world).await
}
