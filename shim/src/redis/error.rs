//! What can go wrong with a command, sorted by what its caller can do about it.
//!
//! No variant shows a reply: replies carry message bodies.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisClientError {
    /// Redis is known to be away and was not asked. The same again may succeed once
    /// [`LinkState::Available`](super::LinkState::Available) is back.
    #[error("redis is away")]
    CircuitOpen,
    /// It did not answer in time, cannot be reached, is loading, failing over, or may not write. Whether the command took
    /// effect is unknown unless [`Redis`](super::Redis) says otherwise; the same again may succeed.
    #[error("redis is unavailable")]
    Unavailable(#[source] RedisError),
    /// It did not answer in time: neither an error nor an answer came.
    #[error("redis did not answer in time")]
    Timeout,
    /// No memory is left to write; reads go on. Nothing was written.
    #[error("redis has no memory left")]
    OutOfMemory(#[source] RedisError),
    /// It answered with something that the command does not answer with.
    #[error("redis answered a command with something unexpected")]
    UnexpectedReply,
    /// It refused the command; repeating it does not help.
    #[error("redis refused a command")]
    Rejected(#[source] RedisError),
}

impl RedisClientError {
    /// Whether the same command may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::CircuitOpen | Self::Unavailable(_) | Self::Timeout)
    }
}

impl From<RedisError> for RedisClientError {
    fn from(error: RedisError) -> Self {
        match classify_error(&error) {
            RedisErrorClass::Connection | RedisErrorClass::Unavailable => Self::Unavailable(without_data(error)),
            RedisErrorClass::OutOfMemory => Self::OutOfMemory(without_data(error)),
            RedisErrorClass::UnexpectedReply => Self::UnexpectedReply,
            RedisErrorClass::Rejected => Self::Rejected(without_data(error)),
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
pub(super) enum RedisErrorClass {
    /// The connection is lost, or useless: make another one. The command may have happened.
    Connection,
    /// The server answered that it cannot, now. The command has not happened.
    Unavailable,
    /// The server has no memory left.
    OutOfMemory,
    /// The reply has another shape.
    UnexpectedReply,
    /// The server will not.
    Rejected,
}

/// Sorts an error.
pub(super) fn classify_error(error: &RedisError) -> RedisErrorClass {
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::AuthenticationFailed
        | ErrorKind::Parse => RedisErrorClass::Connection,
        ErrorKind::Server(kind) => classify_server_error(kind, error),
        ErrorKind::Extension => classify_error_code(error.code().unwrap_or_default()),
        ErrorKind::UnexpectedReturnType => RedisErrorClass::UnexpectedReply,
        _ => RedisErrorClass::Rejected,
    }
}

fn classify_server_error(kind: ServerErrorKind, error: &RedisError) -> RedisErrorClass {
    match kind {
        ServerErrorKind::BusyLoading
        | ServerErrorKind::Moved
        | ServerErrorKind::Ask
        | ServerErrorKind::TryAgain
        | ServerErrorKind::ClusterDown
        | ServerErrorKind::MasterDown
        | ServerErrorKind::ReadOnly => RedisErrorClass::Unavailable,
        // A script passes the errors of its commands on as text: "OOM command not allowed …, script: …".
        ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort => {
            error.detail().map_or(RedisErrorClass::Rejected, |detail| {
                classify_error_code(detail.split(' ').next().unwrap_or_default())
            })
        }
        _ => RedisErrorClass::Rejected,
    }
}

/// Error codes of the Redis server ("Redis serialization protocol", simple errors) that the client library has no name for.
fn classify_error_code(code: &str) -> RedisErrorClass {
    match code {
        "OOM" => RedisErrorClass::OutOfMemory,
        // MISCONF: it cannot save to disk and therefore refuses writes. BUSY: a script of somebody else runs too long.
        "NOREPLICAS" | "MISCONF" | "BUSY" | "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "UNBLOCKED" => {
            RedisErrorClass::Unavailable
        }
        "NOAUTH" | "WRONGPASS" => RedisErrorClass::Connection,
        _ => RedisErrorClass::Rejected,
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
        assert!(matches!(RedisClientError::from(script), RedisClientError::OutOfMemory(_)));
        assert!(matches!(RedisClientError::from(extension("OOM")), RedisClientError::OutOfMemory(_)));
        for code in ["NOREPLICAS", "MISCONF", "BUSY", "WRONGPASS"] {
            assert!(RedisClientError::from(extension(code)).is_transient(), "{code}");
        }
        let wrong_type = RedisClientError::from(extension("WRONGTYPE"));
        assert!(matches!(wrong_type, RedisClientError::Rejected(_)) && !wrong_type.is_transient());
    }

    #[test]
    fn an_answer_is_never_shown() {
        let error = RedisError::from((ErrorKind::UnexpectedReturnType, "not a number", "a message's body".to_owned()));
        let trouble = RedisClientError::from(error);
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
            let chain = errors::chain(&RedisClientError::from(error)).to_string();
            assert!(chain.starts_with("redis ") && chain.contains(": ") && !chain.contains("body"), "{chain}");
        }
    }
}
