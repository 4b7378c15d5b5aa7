//! The message route: parses one frame of a client and answers with exactly one frame in the response body.
//!
//! The route is two-way, so the answer needs neither a post nor a lookup of the connection. Frames that precede the
//! answer (those of a resume) are sent through `Delivery`. The caller's identity comes from the event alone; a `send`
//! to a conversation reads no store.

mod access;
mod catch_up;
mod channels;
mod cost;
mod history;
mod presence;
mod resume;
mod send;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use tracing::{debug, warn};

use crate::app::{ActionError, EventCaller, HandlerError, MessagingApp, frame_response};
use crate::frame::{ClientAction, ClientError, ClientFrame, EncodeFrame, ErrorCode, FrameParseError, PongFrame};
use crate::id::MessageId;
use crate::ports::CloseReason;

impl MessagingApp {
    /// Handles a message on a two-way route. The `body` of the response is exactly one frame for the sender.
    ///
    /// # Errors
    /// [`HandlerError`] if the infrastructure failed; API Gateway then sends its `Internal server error` frame.
    pub fn handle_message(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        message(self.clone(), event)
    }
}

fn message(
    app: MessagingApp,
    event: ApiGatewayWebsocketProxyRequest,
) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
    let caller = EventCaller::from_event(&event);
    let frame = event.body.unwrap_or_default();
    async move { handle_frame(&app, caller?, &frame).await }
}

async fn handle_frame(
    app: &MessagingApp,
    caller: EventCaller,
    frame: &str,
) -> Result<ApiGatewayProxyResponse, HandlerError> {
    let (id, outcome) = match ClientFrame::parse(frame, &app.limits) {
        Err(FrameParseError { id, error }) => (id, Err(ActionError::Rejected(error))),
        Ok(ClientFrame { id, .. }) if has_expired(app, &caller) => (id, close_expired(app, &caller).await),
        Ok(ClientFrame { id, action }) => (id.clone(), run_action(app, &caller, id.as_ref(), action).await),
    };
    match outcome {
        Ok(text) => Ok(frame_response(text)),
        Err(ActionError::Rejected(error)) => Ok(frame_response(error_frame(&caller, id.as_ref(), &error))),
        Err(ActionError::Internal(error)) => Err(error),
    }
}

async fn run_action(
    app: &MessagingApp,
    caller: &EventCaller,
    id: Option<&MessageId>,
    action: ClientAction<'_>,
) -> Result<String, ActionError> {
    cost::take_action(app, caller, &action)?;
    // The futures of rare actions are boxed, so that common actions do not carry their size.
    match action {
        ClientAction::Send(request) => send::send_message(app, caller, id, request).await,
        ClientAction::Ping => {
            Ok(PongFrame { id: id.map(MessageId::as_str), server_time: app.clock.now() }.encode_text())
        }
        ClientAction::Join(requests) => Box::pin(channels::join_rooms(app, caller, id, &requests)).await,
        ClientAction::Subscribe(requests) => Box::pin(channels::subscribe_topics(app, caller, id, &requests)).await,
        ClientAction::Leave(names) | ClientAction::Unsubscribe(names) => {
            Box::pin(channels::leave_channels(app, caller, id, names)).await
        }
        ClientAction::Resume(requests) => Box::pin(resume::resume_channels(app, caller, id, &requests)).await,
        ClientAction::History(request) => Box::pin(history::read_history(app, caller, id, request)).await,
        ClientAction::Presence(names) => Box::pin(presence::list_presence(app, caller, id, names)).await,
    }
}

fn has_expired(app: &MessagingApp, caller: &EventCaller) -> bool {
    // A token is rejected "on or after" its expiry (RFC 7519, section 4.1.4).
    caller.identity.expires_at.is_some_and(|expires_at| app.clock.now().unix_seconds() >= expires_at)
}

/// Rejects the frame and closes the connection, because its identity is no longer valid.
async fn close_expired(app: &MessagingApp, caller: &EventCaller) -> Result<String, ActionError> {
    if let Err(error) = app.delivery.close_connection(&caller.connection, CloseReason::TokenExpired).await {
        warn!(connection.id = %caller.connection, error = %errors::chain(&error), "closing a connection with an expired token failed");
    }
    Err(ActionError::client_error(ErrorCode::TokenExpired, "the token has expired: obtain a new one and reconnect"))
}

fn error_frame(caller: &EventCaller, id: Option<&MessageId>, error: &ClientError) -> String {
    let code = error.code;
    debug!(connection.id = %caller.connection, ?code, "frame rejected");
    error.encode_frame(id)
}

#[cfg(test)]
mod tests;
