//! Moves channels and their history from one store to another: `twinway migrate`.
//!
//! Invariant: what was copied keeps its offset, time, author, id and body to the byte, and its channel the epoch, so that clients
//! resume in the new store where they were in the old one. Nothing is remembered beside the stores: a copy goes on where
//! the target ends, so an interrupted one is continued, and a finished one caught up, by running it again. This package and the
//! tests alone see both edges.

pub mod args;
mod channel_pattern;
mod copy;
mod endpoint;
mod keeping;
mod open_store;
mod plan;
mod progress;
pub mod report;
mod run;
mod verify;

pub use self::channel_pattern::ChannelPattern;
pub use self::endpoint::StoreEndpoint;
pub use self::keeping::TargetRetention;
pub use self::run::{MigrationJob, RunMode, run_migration};
