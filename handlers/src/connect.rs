//! `$connect`: the verdict on a handshake.
//!
//! The authorizer has verified the token; here the connection is recorded and the subprotocol chosen. Nothing is sent to
//! the connection itself: until the `101` a post to it is answered 410 (API Gateway, "410 Gone", re:Post knowledge centre).

use std::collections::BTreeSet;

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tracing::info;

use crate::app::{EventCaller, HandlerError, MessagingApp, status_response};
use crate::ports::{ClientConnection, Timestamp};

/// The subprotocol of version 1. Browsers offer it beside `bearer.{token}`, which is never echoed.
pub const SUBPROTOCOL: &str = "twinway.v1";

impl MessagingApp {
    /// Handles `$connect`: records the connection and lets it in.
    ///
    /// # Errors
    /// [`HandlerError`] when the store failed; the gateway then refuses the handshake with 502.
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
    let answer = accept_response(event);
    async move { register_connection(&app, caller, connected_at, answer).await }
}

async fn register_connection(
    app: &MessagingApp,
    caller: Result<EventCaller, HandlerError>,
    connected_at: Timestamp,
    answer: ApiGatewayProxyResponse,
) -> Result<ApiGatewayProxyResponse, HandlerError> {
    let EventCaller { connection, identity } = match caller {
        Ok(caller) => caller,
        Err(HandlerError::Identity(reason)) => {
            info!(error = %errors::chain(&reason), "a connection without an identity is refused");
            return Ok(status_response(401));
        }
        Err(error) => return Err(error),
    };
    let record = ClientConnection { id: connection, identity, connected_at, channels: BTreeSet::new() };
    app.connections.put_connection(&record).await?;
    app.notify_online(&record.id, &record.identity).await;
    Ok(answer)
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
