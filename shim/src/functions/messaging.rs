//! The messaging application, called in-process.

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

use super::{ApiFunctions, AuthorizerResult, IntegrationResult, catch_panics, panic_text};

/// The messaging application's five functions, less the HTTP API, which is no function of a WebSocket API.
pub struct MessagingFunctions {
    app: Arc<MessagingApp>,
    authorizer: Arc<Authorizer>,
}

impl MessagingFunctions {
    /// The functions over one application and one authorizer.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, authorizer: Arc<Authorizer>) -> Self {
        Self { app, authorizer }
    }

    /// Calls a handler, which reads its event at once, and runs the rest.
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
                    tracing::error!(function = name, error = %errors::chain(&error), "a handler failed");
                    Err(IntegrationError::Function)
                }
            }
        })
    }
}

impl ApiFunctions for MessagingFunctions {
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        let (authorizer, now) = (&self.authorizer, self.app.clock.now());
        let called = catch_unwind(AssertUnwindSafe(|| authorizer.authorize(event.into_lambda_event(), now)));
        let deciding = async move {
            let verdict = called.unwrap_or_else(|panic| resume_unwind(panic)).await;
            verdict.map_err(|error| AuthorizerInvocationError::Function(error.to_string()))
        };
        Box::pin(AssertUnwindSafe(deciding).catch_unwind().map(|outcome| {
            outcome.unwrap_or_else(|panic| {
                tracing::error!(function = "authorizer", panic = panic_text(&*panic), "a handler panicked");
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
