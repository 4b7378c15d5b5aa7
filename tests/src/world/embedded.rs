//! The world of one process: the `twinway` binary, its messages in one file.

use super::{Grant, Needs, PRIVATE, World, sign};
use crate::eventually;
use crate::server::{Exit, SECRET, Server};

/// One server with a data directory.
pub struct Embedded {
    server: Server,
}

impl World for Embedded {
    async fn start(needs: Needs) -> Self {
        // Scenarios wait for tokens to run out; without leeway they need not wait long.
        let mut launch = Server::launch().with("TWINWAY_AUTH_LEEWAY", "0s");
        if let Some(entries) = needs.retention_entries {
            launch = launch.with("TWINWAY_RETENTION_ENTRIES", entries);
        }
        Self { server: launch.start().await }
    }

    fn socket_url(&self) -> String {
        self.server.socket_url()
    }

    fn http_url(&self) -> String {
        format!("http://{}", self.server.traffic)
    }

    fn token(&self, grant: &Grant) -> String {
        sign(SECRET, grant)
    }

    async fn restart(&mut self) {
        assert_clean(&self.server.stop().await);
        self.server.start_again().await;
    }

    async fn crash(&mut self) {
        assert_private(&self.server.crash().await.stderr);
        self.server.start_again().await;
    }

    async fn finish(mut self) {
        self.server.assert_healthy().await;
        eventually!(
            "every connection to end",
            (self.server.metric("twinway_session_open").await == Some(0.0)).then_some(())
        );
        let backend = self.server.http().bearing(self.token(&Grant::service("harness")));
        eventually!("no connection record to be left", {
            let status = backend.get("/v1/status").await.ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        assert_clean(&self.server.stop().await);
    }
}

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
