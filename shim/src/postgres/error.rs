//! What can go wrong with a statement, sorted by what its caller can do about it.
//!
//! No variant shows what PostgreSQL calls the detail of an error: details carry the contents of rows.

use handlers::ports::LogError;
use sqlx::Error;

/// The adapter's name in errors.
const ADAPTER: &str = "postgresql";

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostgresClientError {
    /// The server is known to be away and was not asked. The same again may succeed once
    /// [`LinkState::Available`](super::LinkState::Available) is back.
    #[error("postgresql is away")]
    CircuitOpen,
    /// It cannot be reached, is starting or stopping, takes no writes now, or is overloaded. Whether the statement took effect
    /// is unknown; the same again may succeed.
    #[error("postgresql is unavailable")]
    Unavailable(#[source] PostgresDriverError),
    /// No answer came in time.
    #[error("postgresql did not answer in time")]
    Timeout,
    /// Its disk is full; reads go on. Nothing was written.
    #[error("postgresql has no room left on its disk")]
    DiskFull(#[source] PostgresDriverError),
    /// A row is not what this program writes.
    #[error("a row of the message log is not as it was written: {0}")]
    InvalidRow(&'static str),
    /// It refused the statement; repeating it does not help.
    #[error("postgresql refused a statement")]
    Rejected(#[source] PostgresDriverError),
}

/// What the server or the driver said, without the contents of rows.
#[derive(Debug, thiserror::Error)]
pub enum PostgresDriverError {
    /// The server's error.
    #[error("{message} (SQLSTATE {code})")]
    Server {
        /// Its five characters ("PostgreSQL error codes", appendix A of its manual).
        code: String,
        /// Its primary message.
        message: String,
    },
    /// Everything else.
    #[error(transparent)]
    Driver(Error),
}

/// What an error says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostgresErrorClass {
    /// The connection is lost or useless, and with it perhaps all others: make new ones.
    Connection,
    /// The server answers, but cannot do it now.
    Overloaded,
    /// Another transaction was in the way.
    Conflict,
    /// No room is left.
    DiskFull,
    /// The server will not.
    Rejected,
}

impl PostgresClientError {
    /// Whether the same statement may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::CircuitOpen | Self::Unavailable(_) | Self::Timeout)
    }

    /// Whether another transaction was in the way.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Unavailable(PostgresDriverError::Server { code, .. }) if classify_sqlstate(code) == PostgresErrorClass::Conflict)
    }
}

/// Sorts an error.
pub(super) fn classify_error(error: &Error) -> PostgresErrorClass {
    match error {
        Error::Database(error) => classify_sqlstate(&error.code().unwrap_or_default()),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => PostgresErrorClass::Connection,
        Error::PoolTimedOut | Error::PoolClosed => PostgresErrorClass::Overloaded,
        _ => PostgresErrorClass::Rejected,
    }
}

/// By the class or the whole of an SQLSTATE.
fn classify_sqlstate(code: &str) -> PostgresErrorClass {
    match code {
        // Serialization failure, deadlock, a lock that was not to be had.
        "40001" | "40P01" | "55P03" => PostgresErrorClass::Conflict,
        "53100" => PostgresErrorClass::DiskFull,
        // Statement timeout; disk input or output.
        "57014" | "58030" => PostgresErrorClass::Overloaded,
        // A server that only follows another: it said so to a write, or to the question for its timeline.
        "25006" | "55000" => PostgresErrorClass::Connection,
        _ if code.starts_with("53") => PostgresErrorClass::Overloaded,
        // Connection exceptions, shutdown and start, refused credentials (they may be about to change), no such database.
        _ if ["08", "57P", "28", "3D"].iter().any(|class| code.starts_with(class)) => PostgresErrorClass::Connection,
        _ => PostgresErrorClass::Rejected,
    }
}

impl From<Error> for PostgresDriverError {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(told) => {
                Self::Server { code: told.code().unwrap_or_default().into_owned(), message: told.message().to_owned() }
            }
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
    fn from(trouble: PostgresClientError) -> Self {
        match trouble {
            PostgresClientError::DiskFull(_) => Self::Full(Box::new(trouble)),
            _ if trouble.is_transient() => Self::Unavailable(Box::new(trouble)),
            _ => Self::Backend { adapter: ADAPTER, source: Box::new(trouble) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_helps() {
        let expected = [
            (PostgresErrorClass::Conflict, &["40001", "40P01", "55P03"][..]),
            (PostgresErrorClass::DiskFull, &["53100"]),
            (PostgresErrorClass::Overloaded, &["53300", "53200", "57014"]),
            (PostgresErrorClass::Connection, &["08006", "57P01", "57P02", "57P03", "25006", "28P01", "3D000"]),
            (PostgresErrorClass::Rejected, &["42501", "42P01", "22021", "XX001", ""]),
        ];
        for (verdict, codes) in expected {
            codes.iter().for_each(|code| assert_eq!(classify_sqlstate(code), verdict, "{code}"));
        }
    }

    #[test]
    fn the_port_is_told_what_its_callers_branch_on() {
        let late = LogError::from(PostgresClientError::from(Error::PoolTimedOut));
        assert!(matches!(late, LogError::Unavailable(_)), "{late:?}");
        let lost = LogError::from(PostgresClientError::from(Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert!(matches!(lost, LogError::Unavailable(_)), "{lost:?}");
        let odd = LogError::from(PostgresClientError::from(Error::RowNotFound));
        assert!(matches!(odd, LogError::Backend { adapter: ADAPTER, .. }), "{odd:?}");
    }
}
