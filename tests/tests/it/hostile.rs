//! Bad input: every case has a clear answer, and neither the server nor anybody else's connection is harmed.

mod floods;
mod frames;
mod handshakes;
mod refusals;

use tests::client::{Client, ClientHandshake};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, assert_private, sign_token};

/// A server, and somebody whom whatever others do must not harm.
struct Scene {
    server: TwinwayServer,
    bystander: Client,
}

impl Scene {
    async fn begin() -> Self {
        Self::with(TwinwayServer::launch().in_memory().start().await).await
    }

    async fn with(server: TwinwayServer) -> Self {
        let bystander = dial(&server, &TokenClaims::user("bystander")).open_and_confirm().await;
        Self { server, bystander }
    }

    fn token(&self, user: &str) -> String {
        sign_token(SECRET, &TokenClaims::user(user))
    }

    async fn user(&self, name: &str) -> Client {
        dial(&self.server, &TokenClaims::user(name)).open_and_confirm().await
    }

    /// The bystander still gets what it sends, the server says that it is well, and it stops when asked.
    async fn end(mut self) {
        let ack = self.bystander.send_to_channel("conversation:bystander", "unharmed").await;
        assert_eq!(ack["offset"], 1);
        assert_eq!(self.bystander.bodies("conversation:bystander", 1).await, ["unharmed"]);
        self.server.assert_healthy().await;
        self.bystander.close().await;
        let exit = self.server.stop().await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
        assert_private(&exit.stderr);
    }
}

fn dial(server: &TwinwayServer, grant: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &grant.user).with_token(&sign_token(SECRET, grant))
}
