//! Worlds: the environments in which the same scenarios run.
//!
//! A scenario is an `async fn name(world: &mut impl World)`. It uses addresses and tokens and can restart and crash
//! its world, but does not depend on the world's components. [`World::finish`] checks what every scenario guarantees:
//! the server is healthy, no connection record remains, it stops gracefully, and its log contains no private data.

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

/// Text that scenarios put into bodies and other private fields, and that must not appear in logs.
pub const PRIVATE_MARKER: &str = "confidential";

/// Settings of a scenario that differ from the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// Maximum number of messages that a channel keeps, where retention counts messages ([`World::keep_newest`]).
    pub retention_entries: Option<u64>,
}

impl Needs {
    /// Returns settings with a limit on the messages that a channel keeps.
    #[must_use]
    pub const fn retaining(self, entries: u64) -> Self {
        Self { retention_entries: Some(entries) }
    }
}

/// An environment in which a scenario runs.
///
/// ```no_run
/// use tests::world::{Needs, World, WorldClients};
///
/// async fn a_message_reaches_a_member<W: World>() {
///     let world = W::start(Needs::default()).await;
///     let (mut alice, mut bob) = (world.user("alice").await, world.user("bob").await);
///     bob.join_channels("join", &["room:lobby"]).await;
///     alice.join_channels("join", &["room:lobby"]).await;
///     alice.send_to_channel("room:lobby", "hello").await;
///     assert_eq!(bob.bodies("room:lobby", 1).await, ["hello"]);
///     alice.close().await;
///     bob.close().await;
///     world.finish().await;
/// }
/// ```
pub trait World: Sized {
    /// Returns whether the world can be started here. If not, prints a message; the scenario is skipped.
    fn is_available() -> impl Future<Output = bool> {
        async { true }
    }

    /// Starts the world.
    fn start(needs: Needs) -> impl Future<Output = Self>;

    /// Returns the URL for WebSocket connections, `ws://host:port/stage`. It may change with a restart.
    fn socket_url(&self) -> String;

    /// Returns the base URL of the HTTP API, `http://host:port`, without `/v1`.
    fn http_url(&self) -> String;

    /// Signs a token.
    fn token(&self, claims: &TokenClaims) -> String;

    /// Returns the delivery order that this world guarantees.
    fn delivery_order(&self) -> DeliveryOrder {
        DeliveryOrder::Ordered
    }

    /// Returns the close that clients observe when the application chose `chosen`.
    fn observed_close(&self, chosen: ObservedClose) -> ObservedClose {
        chosen
    }

    /// Waits until retention has dropped all but the newest messages of a channel of the default tenant, or causes
    /// it. A world whose retention counts messages was started with [`Needs::retention_entries`] and does nothing.
    fn keep_newest(&mut self, _channel: &str, _keep: u64) -> impl Future<Output = ()> {
        async {}
    }

    /// Stops gracefully and starts again. Durable data survives.
    fn restart(&mut self) -> impl Future<Output = ()>;

    /// Kills the processes and starts them again. Acknowledged data survives.
    fn crash(&mut self) -> impl Future<Output = ()>;

    /// Checks the guarantees of every scenario and stops the world.
    fn finish(self) -> impl Future<Output = ()>;
}

/// Clients of a world.
pub trait WorldClients: World {
    /// Returns a handshake with a token, not sent yet.
    fn dial(&self, claims: &TokenClaims) -> ClientHandshake {
        Client::dial(&self.socket_url(), &claims.user)
            .with_token(&self.token(claims))
            .with_delivery_order(self.delivery_order())
    }

    /// Connects a user that receives all messages from now on.
    fn user(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&TokenClaims::user(name)).open_and_confirm()
    }

    /// Connects an admin that receives all messages from now on.
    fn admin(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&TokenClaims::admin(name)).open_and_confirm()
    }

    /// Returns an HTTP client of a backend of the default tenant.
    fn backend(&self) -> HttpCaller {
        self.backend_of("default")
    }

    /// Returns an HTTP client of a backend of a tenant.
    fn backend_of(&self, tenant: &str) -> HttpCaller {
        HttpCaller::with_base_url(&self.http_url())
            .with_token(self.token(&TokenClaims::service("billing").in_tenant(tenant)))
    }
}

impl<W: World> WorldClients for W {}
