//! Worlds: places where the same scenarios run.
//!
//! A scenario is an `async fn name(world: &mut impl World)`. It knows addresses, tokens, and that its world can be
//! restarted and crashed; it does not know what the world is made of. Invariant: a world that finishes checks what every
//! scenario promises: the server is healthy, no connection record is left behind, a graceful stop is one, and nothing
//! private stands in its log.

mod aftermath;
mod aws_local;
mod embedded;
mod pods;
mod token;

pub use self::aftermath::assert_private;
pub use self::aws_local::AwsLocal;
pub use self::embedded::Embedded;
pub use self::pods::Pods;
pub use self::token::{Grant, sign};
use crate::client::http::Http;
use crate::client::{Arrival, Client, Dial, Ending};

/// A word that scenarios put into bodies, ids of users aside, to find it where it must not be.
pub const PRIVATE: &str = "confidential";

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
    fn token(&self, grant: &Grant) -> String;

    /// In what order a channel's messages arrive here.
    fn arrival(&self) -> Arrival {
        Arrival::Ordered
    }

    /// How clients see an end for which the application chose a close code.
    fn ending(&self, chosen: Ending) -> Ending {
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
pub trait Cast: World {
    /// Somebody's handshake, not sent yet.
    fn dial(&self, grant: &Grant) -> Dial {
        Client::dial(&self.socket_url(), &grant.user).bearing(&self.token(grant)).arriving(self.arrival())
    }

    /// A user who is connected, and whom messages reach from now on.
    fn user(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&Grant::user(name)).arrive()
    }

    /// An admin who is connected, and whom messages reach from now on.
    fn admin(&self, name: &str) -> impl Future<Output = Client> {
        self.dial(&Grant::admin(name)).arrive()
    }

    /// A backend that calls the HTTP API of the default tenant.
    fn backend(&self) -> Http {
        self.backend_of("default")
    }

    /// A backend of a tenant.
    fn backend_of(&self, tenant: &str) -> Http {
        Http::of(&self.http_url()).bearing(self.token(&Grant::service("billing").of(tenant)))
    }
}

impl<W: World> Cast for W {}
