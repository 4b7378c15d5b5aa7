//! The rows, with the case of each that can run.
//!
//! Together they cover the catalogue, in its order (`catalogue.rs` checks it). A case that two rows need is defined
//! once.

mod authorizers;
mod bodies;
mod closing;
mod compression;
mod concurrency;
mod context;
mod disconnect;
mod errors;
mod events;
mod failures;
mod frames;
mod handshake;
mod headers;
mod identifiers;
mod identity;
mod keys;
mod management;
mod protocol;
mod quotas;
mod rejections;
mod replies;
mod routing;
mod sdks;
mod semantics;
mod signatures;
mod throttling;
mod timers;

use super::catalogue;
use super::row::ConformanceRow;

/// Returns every row in the order of the catalogue.
#[must_use]
pub fn rows() -> Vec<ConformanceRow> {
    let modules: [&[ConformanceRow]; 23] = [
        events::ROWS,
        context::ROWS,
        identifiers::ROWS,
        identity::ROWS,
        headers::ROWS,
        bodies::ROWS,
        handshake::ROWS,
        rejections::ROWS,
        protocol::ROWS,
        authorizers::ROWS,
        routing::ROWS,
        replies::ROWS,
        errors::ROWS,
        concurrency::ROWS,
        frames::ROWS,
        quotas::ROWS,
        closing::ROWS,
        timers::ROWS,
        management::ROWS,
        semantics::ROWS,
        failures::ROWS,
        sdks::ROWS,
        disconnect::ROWS,
    ];
    let mut rows: Vec<_> = modules.into_iter().flatten().copied().collect();
    rows.sort_by_key(|row| catalogue::ids().position(|id| id == row.id));
    rows
}
