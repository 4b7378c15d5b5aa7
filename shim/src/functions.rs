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
use gateway::api::WebSocketApi;
use gateway::authorizer::AuthorizerInvocationError;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use handlers::ports::Clock;

pub use self::lambda::LambdaFunctions;
pub use self::messaging::MessagingFunctions;
pub use self::notices::MessagingNotices;

/// What a handler answered.
pub type IntegrationResult = Result<IntegrationReply, IntegrationError>;
/// What an authorizer answered.
pub type AuthorizerResult = Result<ApiGatewayCustomAuthorizerResponse, AuthorizerInvocationError>;

/// The functions behind one API. Each method makes what it needs of the event at once and returns a future that is free of
/// it, so that the future can outlive the connection.
pub trait ApiFunctions: Send + Sync {
    /// Decides about a connection.
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult>;

    /// Answers `$connect`.
    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult>;

    /// Answers a message. The hot path.
    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult>;

    /// Answers `$disconnect`; what it answers is ignored.
    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult>;
}

/// An API, the functions behind its routes, and the clock that stamps their events.
#[derive(Clone)]
pub struct ApiIntegration {
    /// Its routes, stage, quotas.
    pub api: Arc<WebSocketApi>,
    /// What answers its events.
    pub functions: Arc<dyn ApiFunctions>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

/// Runs an in-process handler so that a panic becomes a function error, as a crashed function is on Lambda.
pub fn catch_panics<F>(function: &'static str, handler: F) -> BoxFuture<'static, IntegrationResult>
where
    F: Future<Output = IntegrationResult> + Send + 'static,
{
    Box::pin(AssertUnwindSafe(handler).catch_unwind().map(move |outcome| {
        outcome.unwrap_or_else(|panic| {
            tracing::error!(function, panic = panic_text(&*panic), "a handler panicked");
            Err(IntegrationError::Function)
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
