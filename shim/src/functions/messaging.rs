//! Functions of the messaging application, called in-process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gateway::authorizer::AuthorizerInvocationError;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use handlers::app::MessagingApp;
use handlers::authorizer::Authorizer;

use super::{ApiFunctions, AuthorizerResult, IntegrationResult, catch_panics, panic_message};

/// The messaging application's authorizer and its `$connect`, message and `$disconnect` handlers. The HTTP API is
/// served separately.
pub struct MessagingFunctions {
    app: Arc<MessagingApp>,
    authorizer: Arc<Authorizer>,
}

impl MessagingFunctions {
    /// Creates the functions of an application.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, authorizer: Arc<Authorizer>) -> Self {
        Self { app, authorizer }
    }

    /// Calls a handler, which reads its event synchronously, and returns the future of its result.
    fn run_handler<R, E>(name: &'static str, call: impl FnOnce() -> R) -> BoxFuture<'static, IntegrationResult>
    where
        R: Future<Output = Result<ApiGatewayProxyResponse, E>> + Send + 'static,
        E: std::error::Error,
    {
        let called = catch_unwind(AssertUnwindSafe(call));
        catch_panics(name, async move {
            match called.unwrap_or_else(|panic| resume_unwind(panic)).await {
                Ok(response) => IntegrationReply::from_lambda_response(response),
                Err(error) => {
                    tracing::error!(function = name, error = %errors::chain(&error), "handler failed");
                    Err(IntegrationError::Function)
                }
            }
        })
    }
}

impl ApiFunctions for MessagingFunctions {
    fn authorizes_in_process(&self) -> bool {
        true
    }

    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        let (authorizer, now) = (&self.authorizer, self.app.clock.now());
        let called = catch_unwind(AssertUnwindSafe(|| authorizer.authorize(event.into_lambda_event(), now)));
        let authorization = async move {
            let result = called.unwrap_or_else(|panic| resume_unwind(panic)).await;
            result.map_err(|error| AuthorizerInvocationError::Function(error.to_string()))
        };
        Box::pin(AssertUnwindSafe(authorization).catch_unwind().map(|outcome| {
            outcome.unwrap_or_else(|panic| {
                tracing::error!(function = "authorizer", panic = panic_message(&*panic), "handler panicked");
                Err(AuthorizerInvocationError::NotInvokable)
            })
        }))
    }

    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        Self::run_handler("connect", || self.app.handle_connect(event.into_lambda_event()))
    }

    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        Self::run_handler("message", || self.app.handle_message(event.into_lambda_event()))
    }

    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        Self::run_handler("disconnect", || self.app.handle_disconnect(event.into_lambda_event()))
    }
}
