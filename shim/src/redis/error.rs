//! Errors of Redis operations, classified by what the caller can do.
//!
//! No variant contains a reply, because replies carry message bodies.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Error of a Redis operation.
#[derive(Debug, thiserror::Error)]
pub enum RedisClientError {
    /// The circuit breaker is open, and the command was not sent. A retry may succeed once the state is
    /// [`LinkState::Available`](super::LinkState::Available) again.
    #[error("redis is unavailable (circuit breaker open)")]
    CircuitOpen,
    /// Redis cannot be reached, is loading or failing over, or cannot accept writes. The command may have taken effect,
    /// unless a method of [`RedisClient`](super::RedisClient) documents otherwise. A retry may succeed.
    #[error("redis is unavailable")]
    Unavailable(#[source] RedisError),
    /// No reply arrived in time. The command may have taken effect.
    #[error("redis command timed out")]
    Timeout,
    /// Fewer replicas than `redis.wait_replicas` confirmed a write in time. It may have taken effect, and a failover
    /// may undo it. A retry may succeed.
    #[error("too few redis replicas confirmed a write in time (redis.wait_replicas)")]
    Unconfirmed,
    /// Redis has no memory for writes; reads still succeed. Nothing was written.
    #[error("redis is out of memory")]
    OutOfMemory(#[source] RedisError),
    /// The reply has an unexpected type.
    #[error("redis returned an unexpected reply")]
    UnexpectedReply,
    /// A key has another type than this program gives it, because another program has written it. The command had no
    /// effect on it.
    #[error("the redis key {key} is a {found} instead of a {expected}: another program wrote it; rename or delete it")]
    WrongKeyType {
        key: String,
        /// Type of the key, as `TYPE` returns it.
        found: String,
        expected: &'static str,
    },
    /// Redis rejected the command. A retry fails too.
    #[error("redis rejected a command")]
    Rejected(#[source] RedisError),
}

impl RedisClientError {
    /// Returns whether the same command may succeed later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::CircuitOpen | Self::Unavailable(_) | Self::Timeout | Self::Unconfirmed)
    }

    /// Returns whether the state of the server is the cause, not the configuration.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        self.is_transient() || matches!(self, Self::OutOfMemory(_))
    }

    /// Returns whether the server found a key of another type than the command requires.
    pub(super) fn is_wrong_type(&self) -> bool {
        // Scripts return the errors of their commands as text.
        matches!(self, Self::Rejected(error) if error.code() == Some("WRONGTYPE") || error.to_string().contains("WRONGTYPE"))
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

/// Replaces errors whose text contains a reply or the arguments of a command: sources are logged, and both carry
/// message bodies.
fn without_data(error: RedisError) -> RedisError {
    match error.kind() {
        kind @ (ErrorKind::Parse | ErrorKind::UnexpectedReturnType) => RedisError::from((kind, "unreadable reply")),
        // Redis replies to an unknown command with the beginning of its arguments (`server.c`, `rejectCommandFormat`).
        kind if error.to_string().contains("with args beginning with") => RedisError::from((kind, "unknown command")),
        _ => error,
    }
}

/// Class of a driver error, which decides about the connection, the breaker and a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedisErrorClass {
    /// The connection is lost or unusable, and has to be replaced. The command may have been executed.
    Connection,
    /// The server cannot execute the command now. It was not executed.
    Unavailable,
    /// The server is out of memory.
    OutOfMemory,
    /// The reply has an unexpected type.
    UnexpectedReply,
    /// The server rejected the command.
    Rejected,
}

/// Classifies a driver error.
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
        // After loading the script: its slot is moving to a node that the connection does not know yet.
        | ServerErrorKind::NoScript
        | ServerErrorKind::ReadOnly => RedisErrorClass::Unavailable,
        // A script returns the errors of its commands as text: "OOM command not allowed …, script: …".
        ServerErrorKind::ResponseError | ServerErrorKind::ExecAbort => {
            error.detail().map_or(RedisErrorClass::Rejected, |detail| {
                classify_error_code(detail.split(' ').next().unwrap_or_default())
            })
        }
        _ => RedisErrorClass::Rejected,
    }
}

/// Classifies error codes of the Redis server ("Redis serialization protocol", simple errors) that the driver has no
/// name for.
fn classify_error_code(code: &str) -> RedisErrorClass {
    match code {
        "OOM" => RedisErrorClass::OutOfMemory,
        // MISCONF: the server cannot save to disk and therefore rejects writes. BUSY: another client's script runs too
        // long.
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
    fn errors_are_classified_by_what_the_caller_can_do() {
        let extension = |code: &str| make_extension_error(code.to_owned(), Some("detail".to_owned()));
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
    fn an_error_never_contains_a_reply() {
        let error = RedisError::from((ErrorKind::UnexpectedReturnType, "not a number", "a message's body".to_owned()));
        let client_error = RedisClientError::from(error);
        assert!(!format!("{client_error:?} {client_error}").contains("body"));
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
