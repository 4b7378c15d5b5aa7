//! Hostile input: every case has a defined response, and neither the server nor other connections are affected.

mod floods;
mod frames;
mod handshakes;
mod invalid_messages;
mod slow_readers;
mod unauthenticated;

use tests::client::{Client, ClientHandshake};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, assert_private, sign_token};

/// A server, and a connected client that must not be affected.
struct HostileFixture {
    server: TwinwayServer,
    bystander: Client,
}

impl HostileFixture {
    async fn start() -> Self {
        Self::with_server(TwinwayServer::launch().in_memory().start().await).await
    }

    async fn with_server(server: TwinwayServer) -> Self {
        let bystander = dial(&server, &TokenClaims::user("bystander")).open_and_confirm().await;
        Self { server, bystander }
    }

    fn token(&self, user: &str) -> String {
        sign_token(SECRET, &TokenClaims::user(user))
    }

    async fn user(&self, name: &str) -> Client {
        dial(&self.server, &TokenClaims::user(name)).open_and_confirm().await
    }

    /// Checks that the bystander is unaffected, that the server is healthy, and that it stops gracefully.
    async fn finish(mut self) {
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

fn dial(server: &TwinwayServer, claims: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &claims.user).with_token(&sign_token(SECRET, claims))
}
