//! Types of an invocation: event, result and errors.

use std::process::ExitStatus;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Result of an invocation: the bytes that the function returned.
pub type InvocationResult = Result<Bytes, InvokeError>;

/// Error of an invocation. `Display` omits the function's message, which may contain user data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The function failed or could not start: a function error in Lambda.
    #[error("the function failed with {kind}")]
    Function {
        /// `errorType`, for example `Runtime.ImportModuleError`.
        kind: String,
        /// `errorMessage`.
        message: String,
    },
    /// The process exited before it responded: a function error in Lambda, with the `errorType` `Runtime.ExitError`.
    #[error("the function failed with Runtime.ExitError: {reason}")]
    Exited {
        /// How the process ended, in Lambda's words, for example `Runtime exited with error: exit status 7`.
        reason: String,
    },
    /// The function did not respond within its timeout; its process has been killed.
    #[error("the function timed out")]
    TimedOut,
    /// All processes are busy and the queue is full: status 429 in Lambda.
    #[error("the function is throttled: all processes are busy and the queue is full")]
    Throttled,
    /// The function is shutting down.
    #[error("the function is shutting down")]
    Stopped,
}

/// Body that a runtime posts when a handler or its initialization failed (Lambda developer guide, `runtimes-api`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    #[serde(rename = "errorType")]
    kind: String,
    #[serde(rename = "errorMessage")]
    message: String,
}

/// Event as a runtime receives it.
#[derive(Clone)]
pub(crate) struct InvocationEvent {
    pub request_id: Arc<str>,
    /// `Lambda-Runtime-Invocation-Id`; a response with another value belongs to an earlier invocation.
    pub nonce: Arc<str>,
    pub trace_id: Arc<str>,
    pub payload: Bytes,
}

/// Maximum characters of an error type.
const MAX_ERROR_TYPE_CHARS: usize = 128;

/// An event with the deadline of its response.
#[derive(Clone)]
pub(crate) struct DispatchedEvent {
    pub event: InvocationEvent,
    pub deadline: Instant,
}

/// An event with the channel to its caller.
pub(crate) struct PendingInvocation {
    pub event: InvocationEvent,
    /// Deadline of an invocation whose timeout has begun before its delivery, with a repeated initialization.
    pub deadline: Option<Instant>,
    pub reply: oneshot::Sender<InvocationResult>,
}

impl InvokeError {
    pub(crate) fn function_error(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Function { kind: kind.into(), message: message.into() }
    }

    /// Parses the error that a runtime posted. For an invalid body the error type is that of the header. The type is
    /// logged, so that of a body is limited to [`MAX_ERROR_TYPE_CHARS`] and contains no control characters.
    pub(crate) fn from_runtime(header: Option<&str>, body: &[u8]) -> Self {
        let posted: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        let kind = printable_type(&posted.kind).unwrap_or_else(|| error_type(header.unwrap_or_default()));
        Self::function_error(kind, posted.message)
    }

    /// Returns the error of an invocation whose process exited before it responded.
    pub(crate) fn process_exited(status: Option<ExitStatus>) -> Self {
        let reason = match status {
            Some(status) if !status.success() => format!("Runtime exited with error: {}", describe_exit(status)),
            _ => "Runtime exited without providing a reason".to_owned(),
        };
        Self::Exited { reason }
    }
}

/// Formats a status as Lambda does: `exit status 1`, `signal: killed`, `signal: aborted (core dumped)` (Go,
/// `os.ProcessState.String`).
pub(crate) fn describe_exit(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            match signal_name(signal) {
                Some(name) => format!("signal: {name}{core}"),
                None => format!("signal: signal {signal}{core}"),
            }
        }
        (None, None) => "unknown".to_owned(),
    }
}

/// Returns Go's name of a signal (`syscall`, `zerrors_linux_amd64.go`). The numbers are those of Linux.
const fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return None,
    })
}

/// Returns the error type of a body as it may be logged; `None` if it is empty.
fn printable_type(kind: &str) -> Option<String> {
    let printable: String = kind.chars().filter(|char| !char.is_control()).take(MAX_ERROR_TYPE_CHARS).collect();
    (!printable.is_empty()).then_some(printable)
}

/// Returns the error type as Lambda reports it: `Runtime.Name` and `Function.Name` unchanged, others as
/// `Runtime.Unknown` or `Function.Unknown`.
fn error_type(header: &str) -> String {
    let name = header.strip_prefix("Runtime.").or_else(|| header.strip_prefix("Function."));
    let is_valid = |name: &str| {
        name.len() > 1
            && name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphabetic())
    };
    match name {
        Some(name) if is_valid(name) => header.to_owned(),
        _ if header.starts_with("Function.") => "Function.Unknown".to_owned(),
        _ => "Runtime.Unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_types_are_reported_as_by_lambda() {
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
    fn exits_are_described_as_by_lambda() {
        use std::os::unix::process::ExitStatusExt as _;

        for (raw, expected) in [
            (7 << 8, "Runtime exited with error: exit status 7"),
            (9, "Runtime exited with error: signal: killed"),
            (6 | 0x80, "Runtime exited with error: signal: aborted (core dumped)"),
            (64, "Runtime exited with error: signal: signal 64"),
            (0, "Runtime exited without providing a reason"),
        ] {
            let error = InvokeError::process_exited(Some(ExitStatus::from_raw(raw)));
            assert_eq!(error.to_string(), format!("the function failed with Runtime.ExitError: {expected}"));
        }
    }

    #[test]
    fn posted_errors_are_parsed_leniently() {
        let error = InvokeError::from_runtime(Some("unhandled"), br#"{"errorType":"E","errorMessage":"m","trace":[]}"#);
        assert_eq!(error, InvokeError::function_error("E", "m"));
        let error = InvokeError::from_runtime(Some("Runtime.Oops"), b"not JSON");
        assert_eq!(error, InvokeError::function_error("Runtime.Oops", ""));
        assert!(!format!("{}", InvokeError::function_error("E", "secret")).contains("secret"));
        let long = format!(r#"{{"errorType":"A\r\nB{}","errorMessage":""}}"#, "x".repeat(1_000_000));
        let InvokeError::Function { kind, .. } = InvokeError::from_runtime(None, long.as_bytes()) else { panic!() };
        assert!(kind.len() == MAX_ERROR_TYPE_CHARS && kind.starts_with("ABx"), "{kind:?}");
    }
}
