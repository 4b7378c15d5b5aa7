//! Message logs in PostgreSQL: the durable log of pods, or of one process beside a database that is there anyway.
//!
//! Every operation is one statement and has a deadline; statements are made so that they may be repeated, and are where the
//! server is busy or a connection is lost. No caller waits for a server that is known to be away. The tables and functions are
//! made at the start (`migrations/`), all in one schema.

mod archive;
mod client;
mod error;
mod health_check;
mod log;
mod metrics;
mod migration;
mod preflight;
mod settings;

pub use self::archive::PostgresArchive;
pub use self::client::PostgresClient;
pub use self::error::{PostgresClientError, PostgresDriverError};
pub use self::log::{PostgresLog, PostgresRetention};
pub use self::metrics::PostgresMetrics;
pub use self::preflight::PostgresStartupError;
pub use self::settings::PostgresSettings;
pub use crate::breaker::LinkState;
