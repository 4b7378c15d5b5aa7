//! `$connect`: registers a new connection and selects the subprotocol.
//!
//! The authorizer has already verified the token. No frame is sent to the connection itself: API Gateway answers a post
//! with 410 until the client has received the `101` (API Gateway, "410 Gone", re:Post knowledge centre).

use std::collections::BTreeSet;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tracing::info;

use crate::app::{EventCaller, HandlerError, MessagingApp, status_response};
use crate::ports::{ClientConnection, Timestamp, TokenIssue};

/// Subprotocol of protocol version 1. Browsers offer it together with `bearer.{token}`, which is never echoed.
pub const SUBPROTOCOL: &str = "twinway.v1";

impl MessagingApp {
    /// Handles `$connect`: registers the connection and accepts the handshake.
    ///
    /// # Errors
    /// [`HandlerError`] if the store failed; API Gateway then rejects the handshake with 502.
    pub fn handle_connect(
        &self,
        event: ApiGatewayWebsocketProxyRequest,
    ) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
        connect(self.clone(), &event)
    }
}

fn connect(
    app: MessagingApp,
    event: &ApiGatewayWebsocketProxyRequest,
) -> impl Future<Output = Result<ApiGatewayProxyResponse, HandlerError>> + Send + use<> {
    let caller = EventCaller::from_event(event);
    let connected_at = Timestamp(event.request_context.connected_at);
    let issue = TokenIssue::from_context(&event.request_context.authorizer.fields);
    let response = accept_response(event);
    async move { register_connection(&app, caller, issue, connected_at, response).await }
}

async fn register_connection(
    app: &MessagingApp,
    caller: Result<EventCaller, HandlerError>,
    issue: TokenIssue,
    connected_at: Timestamp,
    response: ApiGatewayProxyResponse,
) -> Result<ApiGatewayProxyResponse, HandlerError> {
    let EventCaller { connection, identity, .. } = match caller {
        Ok(caller) => caller,
        Err(HandlerError::Identity(error)) => {
            info!(error = %errors::chain(&error), "handshake rejected: the event has no valid identity");
            return Ok(status_response(401));
        }
        Err(error) => return Err(error),
    };
    let record = ClientConnection { id: connection, identity, connected_at, channels: BTreeSet::new() };
    app.connections.put_connection(&record).await?;
    // After the record is written: a revocation that this read misses is later, and finds the record.
    if app.is_revoked(&record.identity, &issue).await? {
        app.connections.delete_connection(&record.id).await?;
        info!(connection.id = %record.id, "handshake rejected: the token is revoked");
        return Ok(status_response(401));
    }
    app.notify_online(&record.id, &record.identity).await;
    Ok(response)
}

fn accept_response(event: &ApiGatewayWebsocketProxyRequest) -> ApiGatewayProxyResponse {
    let mut response = status_response(200);
    if offers_subprotocol(&event.multi_value_headers) || offers_subprotocol(&event.headers) {
        response.headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

fn offers_subprotocol(headers: &HeaderMap) -> bool {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|offer| offer.trim() == SUBPROTOCOL)
}

#[cfg(test)]
mod tests;
