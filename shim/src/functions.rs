//! What answers an API's events: the functions behind its routes.
//!
//! The gateway hands over an event and gets a future. In-process functions take the public event types by value, with no
//! JSON in between; other kinds serialise the same event. A function that fails or panics costs its event and nothing else.

pub(crate) mod lambda;
mod messaging;
mod notices;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayCustomAuthorizerResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gateway::api::Api;
use gateway::authorizer::AuthorizerFailure;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationFailure, Reply};
use handlers::ports::Clock;

pub use self::lambda::Lambda;
pub use self::messaging::Messaging;
pub use self::notices::MessagingNotices;

/// What a handler answered.
pub type Answer = Result<Reply, IntegrationFailure>;
/// What an authorizer answered.
pub type Verdict = Result<ApiGatewayCustomAuthorizerResponse, AuthorizerFailure>;

/// The functions behind one API. Each method makes what it needs of the event at once and returns a future that is free of
/// it, so that the future can outlive the connection.
pub trait Functions: Send + Sync {
    /// Decides about a connection.
    fn authorize(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict>;

    /// Answers `$connect`.
    fn connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, Answer>;

    /// Answers a message. The hot path.
    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer>;

    /// Answers `$disconnect`; what it answers is ignored.
    fn disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, Answer>;
}

/// An API, the functions behind its routes, and the clock that stamps their events.
#[derive(Clone)]
pub struct ApiIntegration {
    /// Its routes, stage, quotas.
    pub api: Arc<Api>,
    /// What answers its events.
    pub functions: Arc<dyn Functions>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// Runs an in-process handler so that a panic becomes a function error, as a crashed function is on Lambda.
pub fn guarded<F>(function: &'static str, handler: F) -> BoxFuture<'static, Answer>
where
    F: Future<Output = Answer> + Send + 'static,
{
    Box::pin(AssertUnwindSafe(handler).catch_unwind().map(move |outcome| {
        outcome.unwrap_or_else(|panic| {
            tracing::error!(function, panic = panic_text(&*panic), "a handler panicked");
            Err(IntegrationFailure::Function)
        })
    }))
}

/// The text of a panic that has one. Panics of handlers are programming errors and carry no client data.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}
