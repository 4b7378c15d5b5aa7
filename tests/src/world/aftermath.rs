//! What holds of a server's process after every scenario, in every world.

use super::PRIVATE;
use crate::server::{Exit, SECRET};

/// A graceful stop leaves with code 0, and the log of a scenario has nothing that somebody has to act on.
pub(super) fn assert_clean(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("\"level\":\"ERROR\""), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert_private(&exit.stderr);
}

/// No token (a JSON Web Token begins with `{"`, which is `eyJ` in base64), no secret and no body stands in a log.
pub(super) fn assert_private(log: &str) {
    for private in ["eyJ", SECRET, PRIVATE] {
        assert!(!log.contains(private), "{private:?} stands in the log:\n{log}");
    }
}
