//! Failures of commands, in words and as an exit code.
//!
//! A failure is one paragraph: what happened, why, and how to mend it.

use std::fmt;
use std::io;
use std::process::ExitCode;

use runtime_api::ProgramError;

use crate::cluster::ClusterJoinError;
use crate::config::ConfigError;
use crate::embedded::{DataDirError, LogOpenError, SigningSecretError};
use crate::exit_code::{EXIT_INTERNAL, EXIT_UNAVAILABLE, EXIT_USAGE, NEGATIVE};
use crate::postgres;
use crate::redis::{RedisClientError, RedisStartupError};

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError {
    code: u8,
    text: String,
}

impl CommandError {
    /// The operator can mend it on the command line or in the configuration.
    pub(super) fn usage_error(text: String) -> Self {
        Self { code: EXIT_USAGE, text }
    }

    /// Something that is needed is not there.
    pub(super) fn unavailable_error(text: String) -> Self {
        Self { code: EXIT_UNAVAILABLE, text }
    }

    /// The server is not healthy.
    pub(super) fn unhealthy_error(text: String) -> Self {
        Self { code: NEGATIVE, text }
    }

    /// Nobody planned for it.
    pub(super) fn internal_error(error: anyhow::Error) -> Self {
        Self { code: EXIT_INTERNAL, text: errors::chain(&*error).to_string() }
    }

    /// Tells from the causes what kind of failure it was.
    pub(super) fn classify_error(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<ConfigError>()) {
            return Self::usage_error(errors::chain(&*error).to_string());
        }
        if error.chain().any(|cause| cause.is::<ProgramError>()) {
            return Self { code: EXIT_UNAVAILABLE, text: errors::chain(&*error).to_string() };
        }
        let unavailable = |cause: &(dyn std::error::Error + 'static)| {
            cause.is::<DataDirError>()
                || cause.is::<LogOpenError>()
                || cause.is::<SigningSecretError>()
                || cause.is::<RedisStartupError>()
                || cause.is::<postgres::PostgresStartupError>()
                || cause.is::<ClusterJoinError>()
                || cause.is::<RedisClientError>()
                || cause.is::<io::Error>()
        };
        if error.chain().any(unavailable) {
            let text = errors::chain(&*error).to_string() + error.chain().find_map(io_error_hint).unwrap_or_default();
            return Self { code: EXIT_UNAVAILABLE, text };
        }
        Self { code: EXIT_INTERNAL, text: errors::chain(&*error).to_string() }
    }

    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// How to mend what the operating system refused.
fn io_error_hint(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::AddrInUse => Some(
            "; the address is in use, perhaps by another twinway: stop it, or set other addresses with --listen and \
             --ops-listen",
        ),
        io::ErrorKind::AddrNotAvailable => Some("; no interface of this machine has this address: set another with --listen"),
        io::ErrorKind::PermissionDenied => {
            Some("; permission denied: set a port above 1023 with --listen, or grant this user the permission")
        }
        _ => None,
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::usage_error(error.to_string())
    }
}

impl From<SigningSecretError> for CommandError {
    fn from(error: SigningSecretError) -> Self {
        Self::classify_error(error.into())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_taken_port_is_unavailable_and_says_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = std::net::TcpListener::bind(taken.local_addr().unwrap()).context("cannot listen").unwrap_err();
        let failure = CommandError::classify_error(error);
        assert_eq!(failure.code, EXIT_UNAVAILABLE);
        assert!(failure.text.starts_with("cannot listen: ") && failure.text.contains("--listen"), "{failure}");
    }

    #[test]
    fn a_configuration_mistake_is_usage_and_anything_else_internal() {
        let mistake = ConfigError { errors: vec!["x".to_owned()] };
        assert_eq!(CommandError::classify_error(mistake.into()).code, EXIT_USAGE);
        let internal = CommandError::classify_error(anyhow::anyhow!("inner").context("outer"));
        assert_eq!((internal.code, internal.text.as_str()), (EXIT_INTERNAL, "outer: inner"));
    }
}
