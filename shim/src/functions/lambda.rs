//! Functions that are Lambda executables, run as processes of this server.
//!
//! Events go out as API Gateway's own bytes, and what comes back is read by API Gateway's grammar rather than the public
//! types' stricter one. Invariant: what a function can do wrong is a function error, as on Lambda. That a function ran
//! into its own timeout is one of them (Lambda answers 200 with `FunctionError`); only the integration timeout, which is
//! the gateway's, is told to clients as a timeout.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use gateway::authorizer::{AuthorizerFailure, response_from_json};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationFailure, Reply};
use runtime_api::{Function, InvokeError, Outcome};

use super::{Answer, Functions, Verdict};

/// What an authorizer fails with to say that a client has no valid credentials.
const UNAUTHORIZED: &str = "Unauthorized";

/// The Lambda functions behind one API, each optional. Several may be the same function.
#[derive(Default, Clone)]
pub struct Lambda {
    /// Decides about connections.
    pub authorizer: Option<Arc<Function>>,
    /// `$connect`.
    pub connect: Option<Arc<Function>>,
    /// Messages.
    pub message: Option<Arc<Function>>,
    /// `$disconnect`.
    pub disconnect: Option<Arc<Function>>,
    /// The HTTP API.
    pub api: Option<Arc<Function>>,
}

impl Lambda {
    /// Ends all processes and waits for them.
    pub async fn stop(&self) {
        let all = [&self.authorizer, &self.connect, &self.message, &self.disconnect, &self.api];
        join_all(all.into_iter().flatten().map(|function| function.stop())).await;
    }
}

impl Functions for Lambda {
    fn authorize(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict> {
        let Some(function) = self.authorizer.clone() else {
            return Box::pin(async { Err(AuthorizerFailure::NotInvokable) });
        };
        let payload = Bytes::from(event.to_json());
        Box::pin(async move {
            let result = invoke(&function, payload).await.map_err(authorizer_failure)?;
            response_from_json(&result)
        })
    }

    fn connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, Answer> {
        answer(self.connect.as_ref(), || event.to_json())
    }

    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer> {
        answer(self.message.as_ref(), || event.to_json())
    }

    fn disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, Answer> {
        answer(self.disconnect.as_ref(), || event.to_json())
    }
}

fn answer(function: Option<&Arc<Function>>, event: impl FnOnce() -> Vec<u8>) -> BoxFuture<'static, Answer> {
    let Some(function) = function.cloned() else {
        return Box::pin(async { Err(IntegrationFailure::NotInvokable) });
    };
    let payload = Bytes::from(event());
    Box::pin(async move {
        let result = invoke(&function, payload).await.map_err(|error| integration_failure(&error))?;
        Reply::from_json(&result)
    })
}

/// Invokes a function and logs what went wrong, without what the function said: it has logged that itself.
pub(crate) async fn invoke(function: &Function, payload: Bytes) -> Outcome {
    let outcome = function.invoke(payload).await;
    match &outcome {
        Ok(_) => {}
        Err(InvokeError::Function { message, .. }) if message == UNAUTHORIZED => {
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

fn integration_failure(error: &InvokeError) -> IntegrationFailure {
    match error {
        InvokeError::Function { .. } | InvokeError::TimedOut => IntegrationFailure::Function,
        InvokeError::Throttled => IntegrationFailure::Throttled,
        InvokeError::Stopped => IntegrationFailure::NotInvokable,
    }
}

fn authorizer_failure(error: InvokeError) -> AuthorizerFailure {
    match error {
        InvokeError::Function { message, .. } => AuthorizerFailure::Function(message),
        InvokeError::TimedOut => AuthorizerFailure::TimedOut,
        InvokeError::Throttled | InvokeError::Stopped => AuthorizerFailure::NotInvokable,
    }
}
