//! What can go wrong with a statement, sorted by what its caller can do about it.
//!
//! No variant shows what PostgreSQL calls the detail of an error: details carry the contents of rows.

use handlers::ports::LogError;
use sqlx::Error;

/// The adapter's name in errors.
const ADAPTER: &str = "postgresql";

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostgresTrouble {
    /// The server is known to be away and was not asked. The same again may succeed once
    /// [`LinkState::Up`](super::LinkState::Up) is back.
    #[error("postgresql is away")]
    Away,
    /// It cannot be reached, is starting or stopping, takes no writes now, or is overloaded. Whether the statement took effect
    /// is unknown; the same again may succeed.
    #[error("postgresql is unavailable")]
    Unavailable(#[source] ServerCause),
    /// No answer came in time.
    #[error("postgresql did not answer in time")]
    Late,
    /// Its disk is full; reads go on. Nothing was written.
    #[error("postgresql has no room left on its disk")]
    Full(#[source] ServerCause),
    /// A row is not what this program writes.
    #[error("a row of the message log is not as it was written: {0}")]
    Row(&'static str),
    /// It refused the statement; repeating it does not help.
    #[error("postgresql refused a statement")]
    Refused(#[source] ServerCause),
}

/// What the server or the driver said, without the contents of rows.
#[derive(Debug, thiserror::Error)]
pub enum ServerCause {
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
pub(super) enum Verdict {
    /// The connection is lost or useless, and with it perhaps all others: make new ones.
    Connection,
    /// The server answers, but cannot do it now.
    Overloaded,
    /// Another transaction was in the way.
    Conflict,
    /// No room is left.
    Full,
    /// The server will not.
    Refused,
}

impl PostgresTrouble {
    /// Whether the same statement may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Away | Self::Unavailable(_) | Self::Late)
    }

    /// Whether another transaction was in the way.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Unavailable(ServerCause::Server { code, .. }) if code_verdict(code) == Verdict::Conflict)
    }
}

/// Sorts an error.
pub(super) fn verdict(error: &Error) -> Verdict {
    match error {
        Error::Database(error) => code_verdict(&error.code().unwrap_or_default()),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => Verdict::Connection,
        Error::PoolTimedOut | Error::PoolClosed => Verdict::Overloaded,
        _ => Verdict::Refused,
    }
}

/// By the class or the whole of an SQLSTATE.
fn code_verdict(code: &str) -> Verdict {
    match code {
        // Serialization failure, deadlock, a lock that was not to be had.
        "40001" | "40P01" | "55P03" => Verdict::Conflict,
        "53100" => Verdict::Full,
        // Statement timeout; disk input or output.
        "57014" | "58030" => Verdict::Overloaded,
        // A server that only follows another: it said so to a write, or to the question for its timeline.
        "25006" | "55000" => Verdict::Connection,
        _ if code.starts_with("53") => Verdict::Overloaded,
        // Connection exceptions, shutdown and start, refused credentials (they may be about to change), no such database.
        _ if ["08", "57P", "28", "3D"].iter().any(|class| code.starts_with(class)) => Verdict::Connection,
        _ => Verdict::Refused,
    }
}

impl From<Error> for ServerCause {
    fn from(error: Error) -> Self {
        match error {
            Error::Database(told) => {
                Self::Server { code: told.code().unwrap_or_default().into_owned(), message: told.message().to_owned() }
            }
            other => Self::Driver(other),
        }
    }
}

impl From<Error> for PostgresTrouble {
    fn from(error: Error) -> Self {
        match verdict(&error) {
            _ if matches!(error, Error::PoolTimedOut) => Self::Late,
            Verdict::Connection | Verdict::Overloaded | Verdict::Conflict => Self::Unavailable(error.into()),
            Verdict::Full => Self::Full(error.into()),
            Verdict::Refused => Self::Refused(error.into()),
        }
    }
}

impl From<PostgresTrouble> for LogError {
    fn from(trouble: PostgresTrouble) -> Self {
        match trouble {
            PostgresTrouble::Full(_) => Self::Full(Box::new(trouble)),
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
            (Verdict::Conflict, &["40001", "40P01", "55P03"][..]),
            (Verdict::Full, &["53100"]),
            (Verdict::Overloaded, &["53300", "53200", "57014"]),
            (Verdict::Connection, &["08006", "57P01", "57P02", "57P03", "25006", "28P01", "3D000"]),
            (Verdict::Refused, &["42501", "42P01", "22021", "XX001", ""]),
        ];
        for (verdict, codes) in expected {
            codes.iter().for_each(|code| assert_eq!(code_verdict(code), verdict, "{code}"));
        }
    }

    #[test]
    fn the_port_is_told_what_its_callers_branch_on() {
        let late = LogError::from(PostgresTrouble::from(Error::PoolTimedOut));
        assert!(matches!(late, LogError::Unavailable(_)), "{late:?}");
        let lost = LogError::from(PostgresTrouble::from(Error::Io(std::io::ErrorKind::ConnectionReset.into())));
        assert!(matches!(lost, LogError::Unavailable(_)), "{lost:?}");
        let odd = LogError::from(PostgresTrouble::from(Error::RowNotFound));
        assert!(matches!(odd, LogError::Backend { adapter: ADAPTER, .. }), "{odd:?}");
    }
}
