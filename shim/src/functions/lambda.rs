//! Functions that are Lambda executables, run as processes of this server.
//!
//! Events go out as API Gateway's own bytes, and what comes back is read by API Gateway's grammar rather than the public
//! types' stricter one. Invariant: what a function can do wrong is a function error, as on Lambda. That a function ran
//! into its own timeout is one of them (Lambda answers 200 with `FunctionError`); only the integration timeout, which is
//! the gateway's, is told to clients as a timeout.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use gateway::authorizer::{AuthorizerInvocationError, parse_authorizer_response};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use runtime_api::{InvocationResult, InvokeError, LambdaFunction};

use super::{ApiFunctions, AuthorizerResult, IntegrationResult};

/// What an authorizer fails with to say that a client has no valid credentials.
const UNAUTHORIZED_MESSAGE: &str = "Unauthorized";

/// The Lambda functions behind one API, each optional. Several may be the same function.
#[derive(Default, Clone)]
pub struct LambdaFunctions {
    /// Decides about connections.
    pub authorizer: Option<Arc<LambdaFunction>>,
    /// `$connect`.
    pub connect: Option<Arc<LambdaFunction>>,
    /// Messages.
    pub message: Option<Arc<LambdaFunction>>,
    /// `$disconnect`.
    pub disconnect: Option<Arc<LambdaFunction>>,
    /// The HTTP API.
    pub http_api: Option<Arc<LambdaFunction>>,
}

impl LambdaFunctions {
    /// Ends all processes and waits for them.
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
        Box::pin(async move {
            let result = invoke_function(&function, payload).await.map_err(authorizer_failure)?;
            parse_authorizer_response(&result)
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
        let result = invoke_function(&function, payload).await.map_err(|error| integration_failure(&error))?;
        IntegrationReply::from_json(&result)
    })
}

/// Invokes a function and logs what went wrong, without what the function said: it has logged that itself.
pub(crate) async fn invoke_function(function: &LambdaFunction, payload: Bytes) -> InvocationResult {
    let outcome = function.invoke(payload).await;
    match &outcome {
        Ok(_) => {}
        Err(InvokeError::Function { message, .. }) if message == UNAUTHORIZED_MESSAGE => {
            tracing::debug!(function.name = function.name(), "a function refused the client");
        }
        Err(error @ (InvokeError::Throttled | InvokeError::Stopped)) => {
            tracing::warn!(function.name = function.name(), error = %errors::chain(error), "a function was not run");
        }
        Err(error @ (InvokeError::Function { .. } | InvokeError::TimedOut)) => {
            tracing::error!(function.name = function.name(), error = %errors::chain(error), "a function failed");
        }
    }
    outcome
}

fn integration_failure(error: &InvokeError) -> IntegrationError {
    match error {
        InvokeError::Function { .. } | InvokeError::TimedOut => IntegrationError::Function,
        InvokeError::Throttled => IntegrationError::Throttled,
        InvokeError::Stopped => IntegrationError::NotInvokable,
    }
}

fn authorizer_failure(error: InvokeError) -> AuthorizerInvocationError {
    match error {
        InvokeError::Function { message, .. } => AuthorizerInvocationError::Function(message),
        InvokeError::TimedOut => AuthorizerInvocationError::TimedOut,
        InvokeError::Throttled | InvokeError::Stopped => AuthorizerInvocationError::NotInvokable,
    }
}
