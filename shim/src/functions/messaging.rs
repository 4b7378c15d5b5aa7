//! The messaging application, called in-process.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gateway::authorizer::AuthorizerFailure;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationFailure, Reply};
use handlers::app::App;
use handlers::authorizer::Authorizer;

use super::{Answer, Functions, Verdict, guarded, panic_text};

/// The messaging application's five functions, less the HTTP API, which is no function of a WebSocket API.
pub struct Messaging {
    app: Arc<App>,
    authorizer: Arc<Authorizer>,
}

impl Messaging {
    /// The functions over one application and one authorizer.
    #[must_use]
    pub const fn new(app: Arc<App>, authorizer: Arc<Authorizer>) -> Self {
        Self { app, authorizer }
    }

    /// Calls a handler, which reads its event at once, and runs the rest.
    fn run<R, E>(name: &'static str, call: impl FnOnce() -> R) -> BoxFuture<'static, Answer>
    where
        R: Future<Output = Result<ApiGatewayProxyResponse, E>> + Send + 'static,
        E: std::error::Error,
    {
        let called = catch_unwind(AssertUnwindSafe(call));
        guarded(name, async move {
            match called.unwrap_or_else(|panic| resume_unwind(panic)).await {
                Ok(response) => Reply::from_typed(response),
                Err(error) => {
                    tracing::error!(function = name, error = %errors::chain(&error), "a handler failed");
                    Err(IntegrationFailure::Function)
                }
            }
        })
    }
}

impl Functions for Messaging {
    fn authorize(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict> {
        let (authorizer, now) = (&self.authorizer, self.app.clock.now());
        let called = catch_unwind(AssertUnwindSafe(|| authorizer.authorize(event.typed(), now)));
        let deciding = async move {
            let verdict = called.unwrap_or_else(|panic| resume_unwind(panic)).await;
            verdict.map_err(|error| AuthorizerFailure::Function(error.to_string()))
        };
        Box::pin(AssertUnwindSafe(deciding).catch_unwind().map(|outcome| {
            outcome.unwrap_or_else(|panic| {
                tracing::error!(function = "authorizer", panic = panic_text(&*panic), "a handler panicked");
                Err(AuthorizerFailure::NotInvokable)
            })
        }))
    }

    fn connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, Answer> {
        Self::run("connect", || self.app.connect(event.typed()))
    }

    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer> {
        Self::run("message", || self.app.message(event.typed()))
    }

    fn disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, Answer> {
        Self::run("disconnect", || self.app.disconnect(event.typed()))
    }
}
