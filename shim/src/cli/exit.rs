//! Errors of commands, with their exit codes.
//!
//! The text of an error is one paragraph: the failure, its cause and the remedy.

use std::fmt;
use std::io;
use std::process::ExitCode;

use runtime_api::{ManagedRuntimeError, ProgramError};

use crate::cluster::ClusterJoinError;
use crate::config::ConfigError;
use crate::embedded::{DataDirError, LogOpenError, SigningSecretError};
use crate::exit_code::{EXIT_INTERNAL, EXIT_NEGATIVE, EXIT_UNAVAILABLE, EXIT_USAGE};
use crate::postgres;
use crate::redis::{RedisClientError, RedisStartupError};

/// Failure of a command.
#[derive(Debug)]
pub struct CommandError {
    code: u8,
    text: String,
}

impl CommandError {
    /// Returns an error that the operator can correct on the command line or in the configuration.
    pub(super) fn usage_error(text: String) -> Self {
        Self { code: EXIT_USAGE, text }
    }

    /// Returns an error for a required resource that is unavailable.
    pub(super) fn unavailable_error(text: String) -> Self {
        Self { code: EXIT_UNAVAILABLE, text }
    }

    /// Returns an error for a server that is not healthy.
    pub(super) fn unhealthy_error(text: String) -> Self {
        Self { code: EXIT_NEGATIVE, text }
    }

    /// Returns an unexpected error.
    pub(super) fn internal_error(error: anyhow::Error) -> Self {
        Self { code: EXIT_INTERNAL, text: errors::chain(&*error).to_string() }
    }

    /// Selects the exit code by the types in the error's chain of causes.
    pub(super) fn classify_error(error: anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<ConfigError>()) {
            return Self::usage_error(errors::chain(&*error).to_string());
        }
        let foreign = |cause: &ClusterJoinError| matches!(cause, ClusterJoinError::ForeignNamespace { .. });
        if error.chain().any(|cause| cause.downcast_ref().is_some_and(foreign)) {
            return Self::usage_error(errors::chain(&*error).to_string());
        }
        if error.chain().any(|cause| cause.is::<ProgramError>() || cause.is::<ManagedRuntimeError>()) {
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

    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// Returns the remedy for an error of the operating system.
fn io_error_hint(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::AddrInUse => Some(
            "; the address is in use, perhaps by another twinway: stop it, or set other addresses with --listen and \
             --ops-listen",
        ),
        io::ErrorKind::AddrNotAvailable => {
            Some("; no interface of this machine has this address: set another with --listen")
        }
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
    fn a_port_in_use_is_unavailable_with_a_remedy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = std::net::TcpListener::bind(listener.local_addr().unwrap()).context("cannot listen").unwrap_err();
        let failure = CommandError::classify_error(error);
        assert_eq!(failure.code, EXIT_UNAVAILABLE);
        assert!(failure.text.starts_with("cannot listen: ") && failure.text.contains("--listen"), "{failure}");
    }

    #[test]
    fn a_configuration_error_is_usage_and_an_unknown_error_internal() {
        let error = ConfigError { errors: vec!["x".to_owned()] };
        assert_eq!(CommandError::classify_error(error.into()).code, EXIT_USAGE);
        let internal = CommandError::classify_error(anyhow::anyhow!("inner").context("outer"));
        assert_eq!((internal.code, internal.text.as_str()), (EXIT_INTERNAL, "outer: inner"));
    }
}
