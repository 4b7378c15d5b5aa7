//! Migration of channels and their history from one message store to another: `twinway migrate`.
//!
//! A copied message keeps its offset, time, sender, id and body (byte for byte), and its channel keeps the epoch, so
//! clients resume in the new store at the position they had in the old one. A copy starts at the target's head and
//! stores no other state: running it again continues an interrupted copy, and copies the messages appended since a
//! completed one. Only this package and the tests depend on both `shim` and `handlers-aws`.
//!
//! ```no_run
//! use migrate::{ChannelPattern, MigrationJob, RunMode, run_migration};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> anyhow::Result<()> {
//! let job = MigrationJob {
//!     from: "dynamodb:chat-messages".parse()?,
//!     to: "postgres://twinway@db/messages".parse()?,
//!     channels: ChannelPattern::match_all(),
//!     mode: RunMode::Copy,
//!     max_parallel_channels: 4,
//!     config: None,
//! };
//! let report = run_migration(&job, &CancellationToken::new()).await?;
//! println!("{report}");
//! # Ok(())
//! # }
//! ```

pub mod args;
mod channel_pattern;
mod copy;
mod endpoint;
mod open_store;
mod plan;
mod progress;
pub mod report;
mod retention;
mod run;
mod verify;

pub use self::channel_pattern::ChannelPattern;
pub use self::endpoint::StoreEndpoint;
pub use self::retention::TargetRetention;
pub use self::run::{MigrationJob, RunMode, run_migration};
