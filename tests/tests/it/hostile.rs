//! Bad input: every case has a clear answer, and neither the server nor anybody else's connection is harmed.

mod floods;
mod frames;
mod handshakes;
mod refusals;

use tests::client::{Client, Dial};
use tests::server::{SECRET, Server};
use tests::world::{Grant, assert_private, sign};

/// A server, and somebody whom whatever others do must not harm.
struct Scene {
    server: Server,
    bystander: Client,
}

impl Scene {
    async fn begin() -> Self {
        Self::with(Server::launch().in_memory().start().await).await
    }

    async fn with(server: Server) -> Self {
        let bystander = dial(&server, &Grant::user("bystander")).arrive().await;
        Self { server, bystander }
    }

    fn token(&self, user: &str) -> String {
        sign(SECRET, &Grant::user(user))
    }

    async fn user(&self, name: &str) -> Client {
        dial(&self.server, &Grant::user(name)).arrive().await
    }

    /// The bystander still gets what it sends, the server says that it is well, and it stops when asked.
    async fn end(mut self) {
        let ack = self.bystander.say("conversation:bystander", "unharmed").await;
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

fn dial(server: &Server, grant: &Grant) -> Dial {
    Client::dial(&server.socket_url(), &grant.user).bearing(&sign(SECRET, grant))
}
