//! What holds of a server's process after every scenario, in every world.

use super::PRIVATE_MARKER;
use crate::server::{SECRET, ServerExit};

/// A graceful stop leaves with code 0, and the log of a scenario has nothing that somebody has to act on.
pub(super) fn assert_clean(exit: &ServerExit) {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("\"level\":\"ERROR\""), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert_private(&exit.stderr);
}

/// How a JSON Web Token begins: `{"typ"` or `{"alg"` in base64. A shorter beginning stands in a connection's id now and then.
const TOKENS: [&str; 2] = ["eyJ0eXAi", "eyJhbGci"];

/// No token, no secret and no body stands in a log.
///
/// # Panics
/// When one does.
pub fn assert_private(log: &str) {
    for private in TOKENS.into_iter().chain([SECRET, PRIVATE_MARKER]) {
        assert!(!log.contains(private), "{private:?} stands in the log:\n{log}");
    }
}
