//! Functions of an API: the integrations that handle its events.
//!
//! An invocation takes an event and returns a future. In-process functions receive the public event types by value,
//! without JSON; external functions receive the same event serialized. A function that fails or panics affects only its
//! own event.

mod code_watch;
pub(crate) mod invocation_log;
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

pub use self::code_watch::{CodeWatch, WatchedDirectory, WatchedFunction};
pub use self::invocation_log::INVOCATION_TARGET;
pub use self::lambda::{LambdaFunctions, RouteBackend};
pub use self::messaging::MessagingFunctions;
pub use self::notices::MessagingNotices;

/// Result of a handler invocation.
pub type IntegrationResult = Result<IntegrationReply, IntegrationError>;
/// Result of an authorizer invocation.
pub type AuthorizerResult = Result<ApiGatewayCustomAuthorizerResponse, AuthorizerInvocationError>;

/// Port to the functions of one API. Each method reads the event before it returns; the returned future does not borrow
/// from it and may outlive the connection.
///
/// ```
/// # use std::sync::Arc;
/// # use futures_util::future::BoxFuture;
/// # use gateway::api::WebSocketApi;
/// # use gateway::authorizer::AuthorizerInvocationError;
/// # use gateway::event::{
/// #     AuthorizerEvent, ConnectEvent, ConnectionFacts, DisconnectEvent, MessageEvent, RequestIdentity,
/// # };
/// # use gateway::id::GatewayId;
/// # use gateway::reply::{IntegrationError, IntegrationReply};
/// # use gateway::time::EventTime;
/// # use http::HeaderMap;
/// # use shim::config::Config;
/// # use shim::functions::{ApiFunctions, AuthorizerResult, IntegrationResult};
/// # use shim::wiring::api_definition;
/// /// Replies to each message with its body.
/// struct Echo;
///
/// impl ApiFunctions for Echo {
///     fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
///         let (headers, body) = (HeaderMap::new(), Some(event.body));
///         Box::pin(async { Ok(IntegrationReply { status: 200, headers, body, is_base64: false }) })
///     }
/// #   fn invoke_authorizer(&self, _: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
/// #       Box::pin(async { Err(AuthorizerInvocationError::NotInvokable) })
/// #   }
/// #   fn invoke_connect(&self, _: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
/// #       Box::pin(async { Err(IntegrationError::NotInvokable) })
/// #   }
/// #   fn invoke_disconnect(&self, _: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
/// #       Box::pin(async { Err(IntegrationError::NotInvokable) })
/// #   }
///     // The authorizer, `$connect` and `$disconnect` likewise.
/// }
/// # let config = Config::for_tests();
/// # let api = Arc::new(WebSocketApi::new(api_definition(&config.api, &config.throttle)).unwrap());
/// # let id = GatewayId::for_connection(1, 1);
/// # let identity = RequestIdentity { iam: None, api_key: None, user_agent: None, source_ip: "192.0.2.1".into() };
/// # let facts = &ConnectionFacts {
/// #     api: api.clone(), connection_id: id, domain_name: "localhost".into(), connected_at: 0, identity,
/// #     authorizer: None,
/// # };
/// # let (route_key, time) = (&api.route_for("hello").unwrap().key, EventTime::from_epoch_ms(0));
/// # let event = MessageEvent { facts, route_key, message_id: id, request_id: id, time, body: "hello".into() };
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
///
/// let reply = Echo.invoke_message(event).await;
/// assert_eq!(reply.ok().and_then(|reply| reply.body).as_deref(), Some("hello"));
/// # });
/// ```
pub trait ApiFunctions: Send + Sync {
    /// Invokes the authorizer of a handshake.
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult>;

    /// Returns whether the authorizer runs in this process, so that verifying a client costs microseconds.
    fn authorizes_in_process(&self) -> bool {
        false
    }

    /// Invokes `$connect`.
    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult>;

    /// Invokes the route of a message. This is the hot path.
    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult>;

    /// Invokes `$disconnect`. The reply is ignored.
    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult>;
}

/// An API, the functions of its routes, and the clock for the times of events.
#[derive(Clone)]
pub struct ApiIntegration {
    /// Definition of the API: routes, stage, quotas.
    pub api: Arc<WebSocketApi>,
    /// The functions that handle its events.
    pub functions: Arc<dyn ApiFunctions>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
}

/// Converts a panic of an in-process handler into a function error, like a crash of a Lambda function.
pub fn catch_panics<F>(function: &'static str, handler: F) -> BoxFuture<'static, IntegrationResult>
where
    F: Future<Output = IntegrationResult> + Send + 'static,
{
    Box::pin(AssertUnwindSafe(handler).catch_unwind().map(move |outcome| {
        outcome.unwrap_or_else(|panic| {
            tracing::error!(function, panic = panic_message(&*panic), "handler panicked");
            Err(IntegrationError::Function)
        })
    }))
}

/// Returns the message of a panic. Panics of handlers are programming errors, whose messages contain no client data.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no panic message")
}
