//! One invocation, from the caller's bytes to its one outcome.

use std::process::ExitStatus;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What became of an invocation: the bytes that the function returned, or why there are none.
pub type InvocationResult = Result<Bytes, InvokeError>;

/// Why an invocation has no result. `Display` leaves out what the function said, which may be anybody's data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function failed, crashed or could not start; what Lambda calls a function error.
    #[error("the function failed with {kind}")]
    Function {
        /// `errorType`, for example `Runtime.ExitError`.
        kind: String,
        /// `errorMessage`.
        message: String,
    },
    /// It did not answer within its timeout; its process has been killed.
    #[error("the function did not answer within its timeout")]
    TimedOut,
    /// All processes are busy and enough callers wait already; what Lambda answers 429.
    #[error("all processes of the function are busy")]
    Throttled,
    /// The function is being stopped.
    #[error("the function is being stopped")]
    Stopped,
}

/// What a runtime sends when a handler or its initialization failed (Lambda developer guide, `runtimes-api`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    #[serde(rename = "errorType")]
    kind: String,
    #[serde(rename = "errorMessage")]
    message: String,
}

/// What a runtime is given.
#[derive(Clone)]
pub(crate) struct InvocationEvent {
    pub request_id: Arc<str>,
    /// A runtime that echoes another one answers an invocation of the past.
    pub nonce: Arc<str>,
    pub trace_id: Arc<str>,
    pub payload: Bytes,
}

/// An event and when it has to be answered.
#[derive(Clone)]
pub(crate) struct DispatchedEvent {
    pub event: InvocationEvent,
    pub deadline: Instant,
}

/// An event whose caller waits.
pub(crate) struct PendingInvocation {
    pub event: InvocationEvent,
    pub reply: oneshot::Sender<InvocationResult>,
}

impl InvokeError {
    pub(crate) fn function_error(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Function { kind: kind.into(), message: message.into() }
    }

    /// Reads what a runtime posted as an error. A body of another form still is an error, of the type that the header
    /// names.
    pub(crate) fn from_runtime(header: Option<&str>, body: &[u8]) -> Self {
        let posted: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let kind = if posted.kind.is_empty() { error_type(header.unwrap_or_default()) } else { posted.kind };
        Self::function_error(kind, posted.message)
    }

    /// The process ended before it had answered.
    pub(crate) fn process_exited(request_id: Option<&str>, status: Option<ExitStatus>) -> Self {
        let reason = match status {
            Some(status) if !status.success() => format!("Runtime exited with error: {}", describe_exit(status)),
            _ => "Runtime exited without providing a reason".to_owned(),
        };
        Self::function_error(
            "Runtime.ExitError",
            format!("RequestId: {} Error: {reason}", request_id.unwrap_or("unknown")),
        )
    }
}

/// `exit status 1`, `signal: 9`.
fn describe_exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// The types that Lambda passes on: `Runtime.Name` and `Function.Name`; others are made unknown ones of their kind.
fn error_type(header: &str) -> String {
    let name = header.strip_prefix("Runtime.").or_else(|| header.strip_prefix("Function."));
    let proper = |name: &str| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
    };
    match name {
        Some(name) if proper(name) => header.to_owned(),
        _ if header.starts_with("Function.") => "Function.Unknown".to_owned(),
        _ => "Runtime.Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_types_are_lambdas() {
        for (given, expected) in [
            ("Runtime.ImportModuleError", "Runtime.ImportModuleError"),
            ("Function.NoSuch", "Function.NoSuch"),
            ("Function.no such", "Function.Unknown"),
            ("unhandled", "Runtime.Unknown"),
            ("", "Runtime.Unknown"),
        ] {
            assert_eq!(error_type(given), expected, "{given}");
        }
    }

    #[test]
    fn what_a_runtime_posts_is_read_leniently() {
        let error = InvokeError::from_runtime(Some("unhandled"), br#"{"errorType":"E","errorMessage":"m","trace":[]}"#);
        assert_eq!(error, InvokeError::function_error("E", "m"));
        let error = InvokeError::from_runtime(Some("Runtime.Oops"), b"not JSON");
        assert_eq!(error, InvokeError::function_error("Runtime.Oops", ""));
        assert!(!format!("{}", InvokeError::function_error("E", "secret")).contains("secret"));
    }
}
