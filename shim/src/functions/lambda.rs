//! Functions as Lambda executables, run as processes of this server.
//!
//! Events are serialized byte for byte as API Gateway does, and responses are parsed by API Gateway's rules, which are
//! more lenient than the public types. Any failure of a function is a function error, as on Lambda, including its own
//! timeout (for which Lambda answers 200 with `FunctionError`). Only the integration timeout of the gateway is reported
//! to clients as a timeout.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use gateway::authorizer::{AuthorizerInvocationError, parse_authorizer_response};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use gateway::route::RouteKey;
use runtime_api::{InvocationResult, InvokeError, LambdaFunction};

use super::invocation_log::InvocationLog;
use super::{ApiFunctions, AuthorizerResult, IntegrationResult};

/// Error message with which an authorizer rejects invalid credentials (401).
const UNAUTHORIZED_MESSAGE: &str = "Unauthorized";

/// Backend of a route.
#[derive(Clone)]
pub enum RouteBackend {
    /// A Lambda function, which receives the event as API Gateway serialises it.
    Lambda(Arc<LambdaFunction>),
}

/// Lambda functions of one API: the authorizer, the backend of each route, and functions of the HTTP API.
#[derive(Default, Clone)]
pub struct LambdaFunctions {
    authorizer: Option<Arc<LambdaFunction>>,
    /// Backends by route key.
    routes: HashMap<String, RouteBackend>,
    /// Backend of the routes without an own one.
    fallback: Option<RouteBackend>,
    /// All functions, each once.
    functions: Vec<Arc<LambdaFunction>>,
}

impl LambdaFunctions {
    /// Returns functions of which one handles all events, as in many Lambda applications.
    #[must_use]
    pub fn single(function: Arc<LambdaFunction>) -> Self {
        let fallback = Some(RouteBackend::Lambda(function.clone()));
        Self { fallback, ..Self::default() }.with_authorizer(function)
    }

    /// Sets the authorizer.
    #[must_use]
    pub fn with_authorizer(mut self, function: Arc<LambdaFunction>) -> Self {
        self.authorizer = Some(function.clone());
        self.with_function(function)
    }

    /// Sets the function of the route `key`.
    #[must_use]
    pub fn with_route(mut self, key: &str, function: Arc<LambdaFunction>) -> Self {
        self.routes.insert(key.to_owned(), RouteBackend::Lambda(function.clone()));
        self.with_function(function)
    }

    /// Adds a function that no WebSocket event invokes, so that it is stopped with the others.
    #[must_use]
    pub fn with_function(mut self, function: Arc<LambdaFunction>) -> Self {
        if !self.functions.iter().any(|known| Arc::ptr_eq(known, &function)) {
            self.functions.push(function);
        }
        self
    }

    /// Stops all function processes and waits for their exit.
    pub async fn stop(&self) {
        join_all(self.functions.iter().map(|function| function.stop())).await;
    }

    fn backend_of(&self, route_key: &str) -> Option<&RouteBackend> {
        self.routes.get(route_key).or(self.fallback.as_ref())
    }
}

impl ApiFunctions for LambdaFunctions {
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        let Some(function) = self.authorizer.clone() else {
            return Box::pin(async { Err(AuthorizerInvocationError::NotInvokable) });
        };
        let (log, payload) = (InvocationLog::start(&function, "authorizer"), Bytes::from(event.to_json()));
        let limit = event.facts.api.quotas.authorizer_result_bytes;
        Box::pin(async move {
            let result = invoke_function(&function, payload).await.map_err(authorizer_error);
            let policy = result.and_then(|result| {
                parse_authorizer_response(&result, limit).map_err(|error| {
                    log_malformed(function.name(), &error);
                    error.into()
                })
            });
            log.finish(&function, if policy.is_ok() { "policy" } else { "error" }.to_owned());
            policy
        })
    }

    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        invoke_backend(self.backend_of(RouteKey::CONNECT), RouteKey::CONNECT, || event.to_json())
    }

    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        let key = event.route_key.as_str();
        invoke_backend(self.backend_of(key), key, || event.to_json())
    }

    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        invoke_backend(self.backend_of(RouteKey::DISCONNECT), RouteKey::DISCONNECT, || event.to_json())
    }
}

fn invoke_backend(
    backend: Option<&RouteBackend>,
    route_key: &str,
    event: impl FnOnce() -> Vec<u8>,
) -> BoxFuture<'static, IntegrationResult> {
    let function = match backend {
        Some(RouteBackend::Lambda(function)) => function.clone(),
        None => return Box::pin(async { Err(IntegrationError::NotInvokable) }),
    };
    let log = InvocationLog::start(&function, route_key);
    let payload = Bytes::from(event());
    Box::pin(async move {
        let result = invoke_function(&function, payload).await.map_err(|error| integration_error(&error));
        let reply = result.and_then(|result| {
            IntegrationReply::parse(&result).map_err(|error| {
                log_malformed(function.name(), &error);
                error.into()
            })
        });
        log.finish(
            &function,
            reply.as_ref().map_or_else(|error| format!("{error:?}"), |reply| reply.status.to_string()),
        );
        reply
    })
}

/// Logs a response that is not in the format of its route. It reaches no client, so the log is the only place where the
/// reason is visible. Callers log nothing more about it.
pub(crate) fn log_malformed(function: &str, reason: &(dyn std::error::Error + 'static)) {
    tracing::error!(function.name = function, error = %errors::chain(reason), "function response malformed");
}

/// Invokes a function and logs a failure. The log line omits the error message of the function, which the function has
/// logged itself.
pub(crate) async fn invoke_function(function: &LambdaFunction, payload: Bytes) -> InvocationResult {
    let name = function.name();
    let outcome = function.invoke(payload).await;
    match &outcome {
        Ok(_) => {}
        Err(InvokeError::Function { message, .. }) if message == UNAUTHORIZED_MESSAGE => {
            tracing::debug!(function.name = name, "authorizer function rejected the client");
        }
        Err(error @ (InvokeError::Throttled | InvokeError::Stopped)) => {
            tracing::warn!(function.name = name, error = %errors::chain(error), "function invocation rejected");
        }
        Err(error @ (InvokeError::Function { .. } | InvokeError::Exited { .. } | InvokeError::TimedOut)) => {
            tracing::error!(function.name = name, error = %errors::chain(error), "function invocation failed");
        }
    }
    outcome
}

fn integration_error(error: &InvokeError) -> IntegrationError {
    match error {
        InvokeError::Function { .. } | InvokeError::Exited { .. } | InvokeError::TimedOut => IntegrationError::Function,
        InvokeError::Throttled => IntegrationError::Throttled,
        InvokeError::Stopped => IntegrationError::NotInvokable,
    }
}

fn authorizer_error(error: InvokeError) -> AuthorizerInvocationError {
    match error {
        InvokeError::Function { message, .. } => AuthorizerInvocationError::Function(message),
        InvokeError::TimedOut => AuthorizerInvocationError::TimedOut,
        InvokeError::Exited { .. } | InvokeError::Throttled | InvokeError::Stopped => {
            AuthorizerInvocationError::NotInvokable
        }
    }
}
