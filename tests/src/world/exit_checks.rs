//! Checks of a server process after every scenario, in every world.

use super::PRIVATE_MARKER;
use crate::server::{SECRET, ServerExit};

/// Asserts that a graceful stop exits with code 0 and that the log contains no error, panic or private data.
pub(super) fn assert_clean(exit: &ServerExit) {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("\"level\":\"ERROR\""), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert_private(&exit.stderr);
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
