//! Message log in PostgreSQL, for pods of a cluster or for a single process.
//!
//! Every operation is one idempotent statement with a deadline, and is retried if the server is overloaded or the
//! connection is lost. While the circuit breaker is open, operations fail immediately. The start creates all tables and
//! functions in one schema (`migrations/`).

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
