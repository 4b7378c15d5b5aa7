//! What can go wrong with a command, sorted by what its caller can do about it.
//!
//! No variant shows a reply: replies carry message bodies.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisTrouble {
    /// Redis is known to be away and was not asked. The same again may succeed once
    /// [`LinkState::Up`](super::LinkState::Up) is back.
    #[error("redis is away")]
    Away,
    /// It did not answer in time, cannot be reached, is loading, failing over, or may not write. Whether the command took
    /// effect is unknown unless [`Redis`](super::Redis) says otherwise; the same again may succeed.
    #[error("redis is unavailable")]
    Unavailable(#[source] RedisError),
    /// It did not answer in time: neither an error nor an answer came.
    #[error("redis did not answer in time")]
    Late,
    /// No memory is left to write; reads go on. Nothing was written.
    #[error("redis has no memory left")]
    Full(#[source] RedisError),
    /// It answered with something that the command does not answer with.
    #[error("redis answered a command with something unexpected")]
    Unexpected,
    /// It refused the command; repeating it does not help.
    #[error("redis refused a command")]
    Refused(#[source] RedisError),
}

impl RedisTrouble {
    /// Whether the same command may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Away | Self::Unavailable(_) | Self::Late)
    }
}

impl From<RedisError> for RedisTrouble {
    fn from(error: RedisError) -> Self {
        match verdict(&error) {
            Verdict::Connection | Verdict::Server => Self::Unavailable(without_data(error)),
            Verdict::Full => Self::Full(without_data(error)),
            Verdict::Unexpected => Self::Unexpected,
            Verdict::Refused => Self::Refused(without_data(error)),
        }
    }
}

/// Replaces errors whose text contains a reply or the arguments of a command: sources are logged, and both carry message
/// bodies.
fn without_data(error: RedisError) -> RedisError {
    match error.kind() {
        kind @ (ErrorKind::Parse | ErrorKind::UnexpectedReturnType) => RedisError::from((kind, "unreadable reply")),
        // Redis answers an unknown command with the beginning of its arguments (`server.c`, `rejectCommandFormat`).
        kind if error.to_string().contains("with args beginning with") => RedisError::from((kind, "unknown command")),
        _ => error,
    }
}

/// What an error says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is lost, or useless: make another one. The command may have happened.
    Connection,
    /// The server answered that it cannot, now. The command has not happened.
    Server,
    /// The server has no memory left.
    Full,
    /// The reply has another shape.
    Unexpected,
    /// The server will not.
    Refused,
}

/// Sorts an error.
pub(super) fn verdict(error: &RedisError) -> Verdict {
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::AuthenticationFailed
        | ErrorKind::Parse => Verdict::Connection,
        ErrorKind::Server(kind) => server_verdict(kind, error),
        ErrorKind::Extension => code_verdict(error.code().unwrap_or_default()),
        ErrorKind::UnexpectedReturnType => Verdict::Unexpected,
        _ => Verdict::Refused,
    }
}

fn server_verdict(kind: ServerErrorKind, error: &RedisError) -> Verdict {
    match kind {
        ServerErrorKind::BusyLoading
        | ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ReadOnly => Verdict::Server,
        // A script passes the errors of its commands on as text: "OOM command not allowed …, script: …".
        ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort => {
            error.detail().map_or(Verdict::Refused, |detail| code_verdict(detail.split(' ').next().unwrap_or_default()))
        }
        _ => Verdict::Refused,
    }
}

/// Error codes of the Redis server ("Redis serialization protocol", simple errors) that the client library has no name for.
fn code_verdict(code: &str) -> Verdict {
    match code {
        "OOM" => Verdict::Full,
        // MISCONF: it cannot save to disk and therefore refuses writes. BUSY: a script of somebody else runs too long.
        "NOREPLICAS" | "MISCONF" | "BUSY" | "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "UNBLOCKED" => {
            Verdict::Server
        }
        "NOAUTH" | "WRONGPASS" => Verdict::Connection,
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn errors_are_sorted_by_what_helps() {
        let extension = |code: &str| make_extension_error(code.to_owned(), Some("told".to_owned()));
        let script = RedisError::from((
            ErrorKind::Server(ServerErrorKind::ResponseError),
            "An error was signalled by the server",
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f".to_owned(),
        ));
        assert!(matches!(RedisTrouble::from(script), RedisTrouble::Full(_)));
        assert!(matches!(RedisTrouble::from(extension("OOM")), RedisTrouble::Full(_)));
        for code in ["NOREPLICAS", "MISCONF", "BUSY", "WRONGPASS"] {
            assert!(RedisTrouble::from(extension(code)).is_transient(), "{code}");
        }
        let wrong_type = RedisTrouble::from(extension("WRONGTYPE"));
        assert!(matches!(wrong_type, RedisTrouble::Refused(_)) && !wrong_type.is_transient());
    }

    #[test]
    fn an_answer_is_never_shown() {
        let error = RedisError::from((ErrorKind::UnexpectedReturnType, "not a number", "a message's body".to_owned()));
        let trouble = RedisTrouble::from(error);
        assert!(!format!("{trouble:?} {trouble}").contains("body"));
    }

    #[test]
    fn a_chain_has_neither_replies_nor_arguments() {
        let reply = RedisError::from((ErrorKind::Parse, "not a number", "a message's body".to_owned()));
        let unknown = RedisError::from((
            ErrorKind::Server(ServerErrorKind::ResponseError),
            "An error was signalled by the server",
            "unknown command 'XADD', with args beginning with: 'key' 'a message's body'".to_owned(),
        ));
        for error in [reply, unknown] {
            let chain = errors::chain(&RedisTrouble::from(error)).to_string();
            assert!(chain.starts_with("redis ") && chain.contains(": ") && !chain.contains("body"), "{chain}");
        }
    }
}
