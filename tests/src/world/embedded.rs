//! World of one process: the `twinway` binary with its message log in one file.

use super::exit_checks::{assert_clean, assert_private};
use super::{Needs, TokenClaims, World, sign_token};
use crate::eventually;
use crate::server::{SECRET, TwinwayServer};

/// One server with a data directory.
pub struct Embedded {
    server: TwinwayServer,
}

impl World for Embedded {
    async fn start(needs: Needs) -> Self {
        // No leeway, so that tests of token expiry are short.
        let mut launch = TwinwayServer::launch().with_env("TWINWAY_AUTH_LEEWAY", "0s");
        if let Some(entries) = needs.retention_entries {
            launch = launch.with_env("TWINWAY_RETENTION_ENTRIES", entries);
        }
        Self { server: launch.start().await }
    }

    fn socket_url(&self) -> String {
        self.server.socket_url()
    }

    fn http_url(&self) -> String {
        format!("http://{}", self.server.traffic)
    }

    fn token(&self, grant: &TokenClaims) -> String {
        sign_token(SECRET, grant)
    }

    async fn restart(&mut self) {
        assert_clean(&self.server.stop().await);
        self.server.restart().await;
    }

    async fn crash(&mut self) {
        assert_private(&self.server.kill().await.stderr);
        self.server.restart().await;
    }

    async fn finish(mut self) {
        self.server.assert_healthy().await;
        eventually!(
            "every connection to end",
            (self.server.metric("twinway_session_open_connections").await == Some(0.0)).then_some(())
        );
        let backend = self.server.http().with_token(self.token(&TokenClaims::service("harness")));
        eventually!("all connection records to be deleted", {
            let status = backend.get("/v1/status").await.expect_ok();
            (status["connections"] == 0 && status["occupiedChannels"] == 0).then_some(())
        });
        assert_clean(&self.server.stop().await);
    }
}
