//! Worlds: places where the same scenarios run.
//!
//! A scenario is an `async fn name(world: &mut impl World)`. It knows addresses, tokens, and that its world can be
//! restarted and crashed; it does not know what the world is made of. Invariant: a world that finishes checks what every
//! scenario promises: the server is healthy, no connection record is left behind, a graceful stop is one, and nothing
//! private stands in its log.

mod aws_local;
mod embedded;
mod exit_checks;
mod pods;
mod token;

pub use self::aws_local::AwsLocal;
pub use self::embedded::Embedded;
pub use self::exit_checks::assert_private;
pub use self::pods::Pods;
pub use self::token::{TokenClaims, sign_token};
use crate::client::http::HttpCaller;
use crate::client::{Client, ClientHandshake, DeliveryOrder, ObservedClose};

/// A word that scenarios put into bodies, ids of users aside, to find it where it must not be.
pub const PRIVATE_MARKER: &str = "confidential";

/// What a scenario wants to be different from the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// Most messages that a channel keeps, where messages are dropped by number ([`World::keep_newest`]).
    pub retention_entries: Option<u64>,
}

impl Needs {
    /// Channels that keep no more than this many messages.
    #[must_use]
    pub const fn retaining(self, entries: u64) -> Self {
        Self { retention_entries: Some(entries) }
    }
}

/// A place where a scenario runs.
pub trait World: Sized {
    /// Whether what the world is made of is there. Says so loudly when it is not, and nothing is checked then.
    fn is_available() -> impl Future<Output = bool> {
        async { true }
    }

    /// Makes the world.
    fn start(needs: Needs) -> impl Future<Output = Self>;

    /// Where WebSockets connect: `ws://host:port/stage`. It may change with a restart.
    fn socket_url(&self) -> String;

    /// Where the HTTP API is: `http://host:port`, the `/v1` comes behind it.
    fn http_url(&self) -> String;

    /// A token for somebody.
    fn token(&self, grant: &TokenClaims) -> String;

    /// In what order a channel's messages arrive here.
    fn delivery_order(&self) -> DeliveryOrder {
        DeliveryOrder::Ordered
    }

    /// How clients see an end for which the application chose a close code.
    fn observed_close(&self, chosen: ObservedClose) -> ObservedClose {
        chosen
    }

    /// Waits, or makes it so, until retention has dropped all of a channel of the default tenant but its newest messages.
    /// A world that drops by number has done so: it was started with [`Needs::retention_entries`].
    fn keep_newest(&mut self, _channel: &str, _keep: u64) -> impl Future<Output = ()> {
        async {}
    }

    /// Stops gracefully and starts again. What is durable stays.
    fn restart(&mut self) -> impl Future<Output = ()>;

    /// Kills without warning and starts again. What was acknowledged stays.
    fn crash(&mut self) -> impl Future<Output = ()>;

    /// Checks what holds behind every scenario, and ends the world.
    fn finish(self) -> impl Future<Output = ()>;
}

/// How scenarios speak of a world.
pub trait WorldClients: World {
    /// Somebody's handshake, not sent yet.
    fn dial(&self, grant: &TokenClaims) -> ClientHandshake {
        Client::dial(&self.socket_url(), &grant.user)
            .with_token(&self.token(grant))
            .with_delivery_order(self.delivery_order())
    }

    /// A user who is connected, and whom messages reach from now on.
    fn user(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&TokenClaims::user(name)).open_and_confirm()
    }

    /// An admin who is connected, and whom messages reach from now on.
    fn admin(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&TokenClaims::admin(name)).open_and_confirm()
    }

    /// A backend that calls the HTTP API of the default tenant.
    fn backend(&self) -> HttpCaller {
        self.backend_of("default")
    }

    /// A backend of a tenant.
    fn backend_of(&self, tenant: &str) -> HttpCaller {
        HttpCaller::with_base_url(&self.http_url())
            .with_token(self.token(&TokenClaims::service("billing").in_tenant(tenant)))
    }
}

impl<W: World> WorldClients for W {}
