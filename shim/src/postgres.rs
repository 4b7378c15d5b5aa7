//! Message logs in PostgreSQL: the durable log of pods, or of one process beside a database that is there anyway.
//!
//! Every operation is one statement and has a deadline; statements are made so that they may be repeated, and are where the
//! server is busy or a connection is lost. No caller waits for a server that is known to be away. The tables and functions are
//! made at the start (`migrations/`), all in one schema.

mod archive;
mod check;
mod link;
mod log;
mod metrics;
mod migration;
mod monitor;
mod settings;
mod trouble;

pub use self::archive::PostgresArchive;
pub use self::check::StartError;
pub use self::link::Postgres;
pub use self::log::{PostgresLog, PostgresRetention};
pub use self::metrics::PostgresMetrics;
pub use self::settings::PostgresSettings;
pub use self::trouble::{PostgresTrouble, ServerCause};
pub use crate::breaker::LinkState;
