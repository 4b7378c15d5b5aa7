//! Messages of clients: one frame in, exactly one frame back as the response's body.
//!
//! The route is two-way, so the answer costs neither a post nor a look-up of the connection. Frames that must be sent
//! before the answer (a resume's) go through `Delivery`. Invariant: whoever speaks is known from the event alone; a `send`
//! to a conversation reads no store.

mod access;
mod catch_up;
mod channels;
mod history;
mod presence;
mod resume;
mod send;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use tracing::{debug, warn};

use crate::app::{App, Caller, Failure, HandlerError, respond};
use crate::frame::{Action, ErrorCode, Frame, Incoming, Pong, Refusal, Rejected};
use crate::id::MessageId;
use crate::ports::CloseReason;

impl App {
    /// Handles a message on a two-way route: the answer's `body` is exactly one frame for the sender.
    ///
    /// # Errors
    /// [`HandlerError`] when the infrastructure failed; the gateway then sends its `Internal server error` frame.
    pub fn message(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        message(self.clone(), event)
    }
}

fn message(
    app: App,
    event: ApiGatewayWebsocketProxyRequest,
) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
    let caller = Caller::of(&event);
    let frame = event.body.unwrap_or_default();
    async move { answer(&app, caller?, &frame).await }
}

async fn answer(app: &App, caller: Caller, frame: &str) -> Result<ApiGatewayProxyResponse, HandlerError> {
    let (id, outcome) = match Incoming::parse(frame, &app.limits) {
        Err(Rejected { id, refusal }) => (id, Err(Failure::Refused(refusal))),
        Ok(Incoming { id, .. }) if has_expired(app, &caller) => (id, expired(app, &caller).await),
        Ok(Incoming { id, action }) => (id.clone(), act(app, &caller, id.as_ref(), action).await),
    };
    match outcome {
        Ok(text) => Ok(respond(text)),
        Err(Failure::Refused(refusal)) => Ok(respond(refused(&caller, id.as_ref(), &refusal))),
        Err(Failure::Broken(error)) => Err(error),
    }
}

async fn act(app: &App, caller: &Caller, id: Option<&MessageId>, action: Action<'_>) -> Result<String, Failure> {
    // The rare actions are boxed, so that the common ones do not carry their state.
    match action {
        Action::Send(request) => send::send(app, caller, id, request).await,
        Action::Ping => Ok(Pong { id: id.map(MessageId::as_str), server_time: app.clock.now() }.text()),
        Action::Join(wanted) => Box::pin(channels::join(app, caller, id, &wanted)).await,
        Action::Subscribe(wanted) => Box::pin(channels::subscribe(app, caller, id, &wanted)).await,
        Action::Leave(names) | Action::Unsubscribe(names) => Box::pin(channels::leave(app, caller, id, names)).await,
        Action::Resume(wanted) => Box::pin(resume::resume(app, caller, id, &wanted)).await,
        Action::History(request) => Box::pin(history::history(app, caller, id, request)).await,
        Action::Presence(names) => Box::pin(presence::presence(app, caller, id, names)).await,
    }
}

fn has_expired(app: &App, caller: &Caller) -> bool {
    // "On or after" its expiry a token is refused (RFC 7519, section 4.1.4).
    caller.identity.expires_at.is_some_and(|expires_at| app.clock.now().seconds() >= expires_at)
}

/// Refuses, and ends the connection: its identity is no longer anybody's.
async fn expired(app: &App, caller: &Caller) -> Result<String, Failure> {
    if let Err(error) = app.delivery.close(&caller.connection, CloseReason::TokenExpired).await {
        warn!(connection.id = %caller.connection, error = %errors::chain(&error), "a connection with an expired token is not closed");
    }
    Err(Failure::refused(ErrorCode::TokenExpired, "the token has run out: get a new one and connect again"))
}

fn refused(caller: &Caller, id: Option<&MessageId>, refusal: &Refusal) -> String {
    debug!(connection.id = %caller.connection, code = ?refusal.code, "a frame is refused");
    refusal.text(id)
}

#[cfg(test)]
mod tests;
