//! ID-1 to ID-5: connection, message and request ids.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::FutureExt as _;
use serde_json::json;

use super::context::one_of_each;
use crate::conformance::event::EventKind;
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::world::CaseWorld;

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "ID-1",
        Documented,
        "Ids have 16 characters: 15 of URL-safe base64 and one `=`, 11 bytes in total.",
        SAME_BEHAVIOR,
        |world| form(world).boxed(),
    ),
    ConformanceRow::holds(
        "ID-2",
        Reported,
        "Ids may contain `-` and `_` and may begin with them.",
        "the same: `@connections` accepts ids that begin with them",
        |world| dashes(world).boxed(),
    ),
    ConformanceRow::holds(
        "ID-3",
        Reported,
        "A message id ends like its connection's id; request ids do not.",
        SAME_BEHAVIOR,
        |world| endings(world).boxed(),
    ),
    ConformanceRow::holds(
        "ID-4",
        Reported,
        "Ids are case-sensitive; their ninth byte is 2 in connection and message ids and 4 or 5 in request ids.",
        "the same; request ids have 5",
        |world| ninth_byte(world).boxed(),
    ),
    ConformanceRow::holds(
        "ID-5",
        Inferred,
        "Handlers use ids in URLs, keys and fixed-width columns, so alphabet and length never vary.",
        "the same; 200 connections have 200 different ids, of which 64 bits are random, so that no id can be guessed",
        |world| many(world).boxed(),
    ),
];

async fn form(world: &CaseWorld) -> anyhow::Result<()> {
    for event in one_of_each(world).await? {
        for field in ["connectionId", "requestId", "messageId"] {
            if event.has(&format!("/requestContext/{field}")) {
                bytes(event.context(field))?;
            }
        }
    }
    Ok(())
}

async fn dashes(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    for id in ["-M0CclhjoECETAA=", "_M0CclhjoECETAA=", "V-M0CclhjoECETA="] {
        let reply = api.post(id, "x").await?;
        ensure!(reply.head.status == 410, "{id} is unused, but returned {}", reply.head.status);
    }
    Ok(())
}

async fn endings(world: &CaseWorld) -> anyhow::Result<()> {
    let [_, message, _] = one_of_each(world).await?;
    let ending = |field| message.context(field).get(12..).unwrap_or_default().to_owned();
    ensure!(ending("messageId") == ending("connectionId"), "{}", message.raw);
    ensure!(message.context("messageId") != message.context("connectionId"), "{}", message.raw);
    Ok(())
}

async fn ninth_byte(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let [_, message, _] = one_of_each(world).await?;
    ensure!(bytes(message.context("connectionId"))?[8] == 2, "{}", message.raw);
    ensure!(bytes(message.context("messageId"))?[8] == 2, "{}", message.raw);
    ensure!(matches!(bytes(message.context("requestId"))?[8], 4 | 5), "{}", message.raw);
    let api = world.standard().await?;
    let (_client, id) = api.connect_with_id().await?;
    let swapped: String = id.chars().map(swap_case).collect();
    let reply = api.post(&swapped, "x").await?;
    ensure!(matches!(reply.head.status, 400 | 410), "another case returned {}", reply.head.status);
    Ok(())
}

async fn many(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_local_gateway("200 connections")?;
    let api = world.standard().await?;
    let mut ids = HashSet::new();
    for _ in 0..200 {
        let mut client = api.connect().await?;
        let id = api.next(EventKind::Connect).await?.context("connectionId").to_owned();
        bytes(&id)?;
        ensure!(ids.insert(id.clone()), "{id} was used twice");
        client.send_directive(json!({})).await?;
    }
    Ok(())
}

fn bytes(id: &str) -> anyhow::Result<[u8; 11]> {
    let bytes = URL_SAFE.decode(id).with_context(|| format!("{id:?} is not URL-safe base64"))?;
    ensure!(id.len() == 16 && id.ends_with('=') && !id.ends_with("=="), "{id:?} has the wrong format");
    bytes.try_into().map_err(|_| anyhow::anyhow!("{id:?} does not encode 11 bytes"))
}

fn swap_case(letter: char) -> char {
    if letter.is_ascii_lowercase() { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() }
}
