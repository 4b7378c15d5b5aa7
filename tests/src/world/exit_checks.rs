//! Checks of a server process after every scenario, in every world.

use super::PRIVATE_MARKER;
use crate::server::{SECRET, ServerExit};

/// Asserts that a graceful stop exits with code 0 and that the log contains no error, panic or private data.
pub(super) fn assert_clean(exit: &ServerExit) {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    let mut errors = exit.stderr.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
    assert!(errors.all(is_rejected_client), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert_private(&exit.stderr);
}

/// Returns whether a line reports the error with which an authorizer function rejects a client. The `lambda_runtime`
/// crate logs each error that a handler returns.
fn is_rejected_client(line: &str) -> bool {
    line.contains("\"target\":\"function\"") && line.contains(r#"InvocationError { kind: \\\"Unauthorized\\\""#)
}

/// Base64 prefixes of JSON Web Tokens: `{"typ"` and `{"alg"`. A shorter prefix could occur in a connection id.
const TOKENS: [&str; 2] = ["eyJ0eXAi", "eyJhbGci"];

/// Asserts that the log contains no token, secret or body.
///
/// # Panics
/// The log contains one.
pub fn assert_private(log: &str) {
    for private in TOKENS.into_iter().chain([SECRET, PRIVATE_MARKER]) {
        assert!(!log.contains(private), "the log contains {private:?}:\n{log}");
    }
}
