//! Errors of statements, classified by the caller's possible reactions.
//!
//! No variant contains the detail field of PostgreSQL's errors, because it may contain the contents of rows.

use handlers::ports::LogError;
use sqlx::Error;

/// Name of the adapter in errors.
const ADAPTER: &str = "postgresql";

/// Failure of a statement.
#[derive(Debug, thiserror::Error)]
pub enum PostgresClientError {
    /// The circuit breaker is open; the statement was not sent. A retry may succeed once the state is
    /// [`LinkState::Available`](super::LinkState::Available).
    #[error("postgresql is unavailable (circuit breaker open)")]
    CircuitOpen,
    /// The server is unreachable, starting or stopping, read-only, or overloaded. It is unknown if the statement took
    /// effect; a retry may succeed.
    #[error("postgresql is unavailable")]
    Unavailable(#[source] PostgresDriverError),
    /// The statement or the wait for a connection exceeded its deadline.
    #[error("postgresql statement timed out")]
    Timeout,
    /// The disk of the server is full. The statement had no effect; reads still succeed.
    #[error("postgresql is out of disk space")]
    DiskFull(#[source] PostgresDriverError),
    /// A row has contents that this program does not write.
    #[error("invalid row in the message log: {0}")]
    InvalidRow(&'static str),
    /// The server rejected the statement; a retry fails as well.
    #[error("postgresql rejected a statement")]
    Rejected(#[source] PostgresDriverError),
}

/// Error of the server or the driver, without the contents of rows.
#[derive(Debug, thiserror::Error)]
pub enum PostgresDriverError {
    /// An error of the server.
    #[error("{message} (SQLSTATE {code})")]
    Server {
        /// SQLSTATE of five characters ("PostgreSQL Error Codes", appendix A of its manual).
        code: String,
        /// Primary message.
        message: String,
    },
    /// An error of the driver.
    #[error(transparent)]
    Driver(Error),
}

/// Class of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostgresErrorClass {
    /// The connection is lost or unusable; older connections probably are as well.
    Connection,
    /// The server responds but currently cannot run the statement.
    Overloaded,
    /// Conflict with another transaction.
    Conflict,
    DiskFull,
    /// A retry would be rejected as well.
    Rejected,
}

impl PostgresClientError {
    /// Returns whether a retry may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::CircuitOpen | Self::Unavailable(_) | Self::Timeout)
    }

    /// Returns whether the statement conflicted with another transaction.
    pub(super) fn is_conflict(&self) -> bool {
        let Self::Unavailable(PostgresDriverError::Server { code, .. }) = self else { return false };
        classify_sqlstate(code) == PostgresErrorClass::Conflict
    }
}

pub(super) fn classify_error(error: &Error) -> PostgresErrorClass {
    match error {
        Error::Database(error) => classify_sqlstate(&error.code().unwrap_or_default()),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => PostgresErrorClass::Connection,
        Error::PoolTimedOut | Error::PoolClosed => PostgresErrorClass::Overloaded,
        _ => PostgresErrorClass::Rejected,
    }
}

/// Classifies an SQLSTATE by its class (the first two characters) or its full code.
fn classify_sqlstate(code: &str) -> PostgresErrorClass {
    match code {
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => PostgresErrorClass::Conflict,
        "53100" => PostgresErrorClass::DiskFull,
        // Statement timeout, I/O error.
        "57014" | "58030" => PostgresErrorClass::Overloaded,
        // A standby server: "read-only transaction" for a write, "recovery is in progress" for its timeline.
        "25006" | "55000" => PostgresErrorClass::Connection,
        _ if code.starts_with("53") => PostgresErrorClass::Overloaded,
        // Connection exceptions, shutdown and start, rejected credentials (which may be in rotation), unknown database.
        _ if ["08", "57P", "28", "3D"].iter().any(|class| code.starts_with(class)) => PostgresErrorClass::Connection,
        _ => PostgresErrorClass::Rejected,
    }
}

impl From<Error> for PostgresDriverError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(error) => Self::Server {
                code: error.code().unwrap_or_default().into_owned(),
                message: error.message().to_owned(),
            },
            other => Self::Driver(other),
        }
    }
}

impl From<Error> for PostgresClientError {
    fn from(error: Error) -> Self {
        match classify_error(&error) {
            _ if matches!(error, Error::PoolTimedOut) => Self::Timeout,
            PostgresErrorClass::Connection | PostgresErrorClass::Overloaded | PostgresErrorClass::Conflict => {
                Self::Unavailable(error.into())
            }
            PostgresErrorClass::DiskFull => Self::DiskFull(error.into()),
            PostgresErrorClass::Rejected => Self::Rejected(error.into()),
        }
    }
}

impl From<PostgresClientError> for LogError {
    fn from(error: PostgresClientError) -> Self {
        match error {
            PostgresClientError::DiskFull(_) => Self::Full(Box::new(error)),
            _ if error.is_transient() => Self::Unavailable(Box::new(error)),
            _ => Self::Backend { adapter: ADAPTER, source: Box::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_classified_by_the_possible_reaction() {
        let expected = [
            (PostgresErrorClass::Conflict, &["40001", "40P01", "55P03"][..]),
            (PostgresErrorClass::DiskFull, &["53100"]),
            (PostgresErrorClass::Overloaded, &["53300", "53200", "57014"]),
            (PostgresErrorClass::Connection, &["08006", "57P01", "57P02", "57P03", "25006", "28P01", "3D000"]),
            (PostgresErrorClass::Rejected, &["42501", "42P01", "22021", "XX001", ""]),
        ];
        for (class, codes) in expected {
            codes.iter().for_each(|code| assert_eq!(classify_sqlstate(code), class, "{code}"));
        }
    }

    #[test]
    fn errors_are_converted_to_the_cases_of_the_port() {
        let timeout = LogError::from(PostgresClientError::from(Error::PoolTimedOut));
        assert!(matches!(timeout, LogError::Unavailable(_)), "{timeout:?}");
        let lost = LogError::from(PostgresClientError::from(Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert!(matches!(lost, LogError::Unavailable(_)), "{lost:?}");
        let unexpected = LogError::from(PostgresClientError::from(Error::RowNotFound));
        assert!(matches!(unexpected, LogError::Backend { adapter: ADAPTER, .. }), "{unexpected:?}");
    }
}
