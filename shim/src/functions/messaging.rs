//! The messaging application, called in-process.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
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

    fn run<F, R, E>(
        &self,
        name: &'static str,
        event: ApiGatewayWebsocketProxyRequest,
        handler: F,
    ) -> BoxFuture<'static, Answer>
    where
        F: FnOnce(Arc<App>, ApiGatewayWebsocketProxyRequest) -> R,
        R: Future<Output = Result<ApiGatewayProxyResponse, E>> + Send + 'static,
        E: std::error::Error,
    {
        // Boxed at once: the event is some 2 KiB, and every wrapping below would move it.
        let handling = Box::pin(handler(self.app.clone(), event));
        guarded(name, async move {
            match handling.await {
                Ok(response) => Reply::from_typed(response),
                Err(error) => {
                    tracing::error!(function = name, error = %chain(&error), "a handler failed");
                    Err(IntegrationFailure::Function)
                }
            }
        })
    }
}

impl Functions for Messaging {
    fn authorize(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict> {
        let (authorizer, clock, event) = (self.authorizer.clone(), self.app.clock.clone(), event.typed());
        let deciding = Box::pin(async move {
            authorizer
                .authorize(event, clock.now())
                .await
                .map_err(|error| AuthorizerFailure::Function(error.to_string()))
        });
        Box::pin(AssertUnwindSafe(deciding).catch_unwind().map(|outcome| {
            outcome.unwrap_or_else(|panic| {
                tracing::error!(function = "authorizer", panic = panic_text(&*panic), "a handler panicked");
                Err(AuthorizerFailure::NotInvokable)
            })
        }))
    }

    fn connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, Answer> {
        self.run("connect", event.typed(), |app, event| async move { app.connect(event).await })
    }

    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer> {
        self.run("message", event.typed(), |app, event| async move { app.message(event).await })
    }

    fn disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, Answer> {
        self.run("disconnect", event.typed(), |app, event| async move { app.disconnect(event).await })
    }

    /// Of several runs the one whose removal finds the record has effects (`handlers::disconnect`).
    fn may_repeat_disconnect(&self) -> bool {
        true
    }
}

/// An error with its sources, for the one place that logs it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
