//! Functions as Lambda executables, run as processes of this server.
//!
//! Events are serialized byte for byte as API Gateway does, and responses are parsed by API Gateway's rules, which are
//! more lenient than the public types. Any failure of a function is a function error, as on Lambda, including its own
//! timeout (for which Lambda answers 200 with `FunctionError`). Only the integration timeout of the gateway is reported
//! to clients as a timeout.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use gateway::authorizer::{AuthorizerInvocationError, parse_authorizer_response};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use runtime_api::{InvocationResult, InvokeError, LambdaFunction};

use super::{ApiFunctions, AuthorizerResult, IntegrationResult};

/// Error message with which an authorizer rejects invalid credentials (401).
const UNAUTHORIZED_MESSAGE: &str = "Unauthorized";

/// Lambda functions of one API, each optional. Several fields may hold the same function.
#[derive(Default, Clone)]
pub struct LambdaFunctions {
    /// The authorizer.
    pub authorizer: Option<Arc<LambdaFunction>>,
    /// Handler of `$connect`.
    pub connect: Option<Arc<LambdaFunction>>,
    /// Handler of messages.
    pub message: Option<Arc<LambdaFunction>>,
    /// Handler of `$disconnect`.
    pub disconnect: Option<Arc<LambdaFunction>>,
    /// Handler of the HTTP API.
    pub http_api: Option<Arc<LambdaFunction>>,
}

impl LambdaFunctions {
    /// Stops all function processes and waits for their exit.
    pub async fn stop(&self) {
        let all = [&self.authorizer, &self.connect, &self.message, &self.disconnect, &self.http_api];
        join_all(all.into_iter().flatten().map(|function| function.stop())).await;
    }
}

impl ApiFunctions for LambdaFunctions {
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        let Some(function) = self.authorizer.clone() else {
            return Box::pin(async { Err(AuthorizerInvocationError::NotInvokable) });
        };
        let payload = Bytes::from(event.to_json());
        let limit = event.facts.api.quotas.authorizer_result_bytes;
        Box::pin(async move {
            let result = invoke_function(&function, payload).await.map_err(authorizer_error)?;
            parse_authorizer_response(&result, limit).map_err(|error| {
                log_malformed(function.name(), &error);
                error.into()
            })
        })
    }

    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        invoke_integration(self.connect.as_ref(), || event.to_json())
    }

    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        invoke_integration(self.message.as_ref(), || event.to_json())
    }

    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        invoke_integration(self.disconnect.as_ref(), || event.to_json())
    }
}

fn invoke_integration(
    function: Option<&Arc<LambdaFunction>>,
    event: impl FnOnce() -> Vec<u8>,
) -> BoxFuture<'static, IntegrationResult> {
    let Some(function) = function.cloned() else {
        return Box::pin(async { Err(IntegrationError::NotInvokable) });
    };
    let payload = Bytes::from(event());
    Box::pin(async move {
        let result = invoke_function(&function, payload).await.map_err(|error| integration_error(&error))?;
        IntegrationReply::parse(&result).map_err(|error| {
            log_malformed(function.name(), &error);
            error.into()
        })
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
