//! Caller, response and error types shared by all handlers.
//!
//! An unavailable port becomes an `unavailable` error frame for the client. Every other error of a port is returned to
//! API Gateway.

use std::time::Duration;

use aws_lambda_events::apigw::{
    ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext,
};
use aws_lambda_events::encodings::Body;
use serde_json::Value;

use super::HandlerError;
use crate::channel_policy::{CHANNELS_KEY, ChannelGrants};
use crate::frame::{ClientError, ErrorCode};
use crate::id::ConnectionId;
use crate::identity::{Identity, Role};
use crate::ports::{DeliveryError, LogError, StoreError};

/// The connection and identity that an event carries.
#[derive(Debug, Clone)]
pub(crate) struct EventCaller {
    pub(crate) connection: ConnectionId,
    pub(crate) identity: Identity,
    /// Rooms and topics that the caller may join; all for admins and services.
    pub(crate) grants: ChannelGrants,
}

/// An error of an action.
#[derive(Debug)]
pub(crate) enum ActionError {
    /// Answered with an `error` frame.
    Rejected(ClientError),
    /// Returned to API Gateway.
    Internal(HandlerError),
}

impl EventCaller {
    /// Reads the caller from the event alone: the connection id, and the identity in the authorizer context.
    pub(crate) fn from_event(event: &ApiGatewayWebsocketProxyRequest) -> Result<Self, HandlerError> {
        let connection = connection_id(&event.request_context)?;
        let context = &event.request_context.authorizer.fields;
        let identity = Identity::from_context(context)?;
        let granted = context.get(CHANNELS_KEY).and_then(Value::as_str).filter(|_| identity.role == Role::User);
        Ok(Self { connection, identity, grants: ChannelGrants::from_context(granted) })
    }
}

/// Returns the id of the connection that sent the event.
pub(crate) fn connection_id(context: &ApiGatewayWebsocketProxyRequestContext) -> Result<ConnectionId, HandlerError> {
    let text = context.connection_id.as_deref().unwrap_or_default();
    ConnectionId::parse(text).map_err(|_| HandlerError::MissingField("requestContext.connectionId"))
}

/// Returns a response without a frame.
pub(crate) fn status_response(code: i64) -> ApiGatewayProxyResponse {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = code;
    response
}

/// Returns a response with one frame as its body.
pub(crate) fn frame_response(frame: String) -> ApiGatewayProxyResponse {
    let mut response = status_response(200);
    response.body = Some(Body::Text(frame));
    response
}

impl ActionError {
    pub(crate) fn client_error(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Rejected(ClientError::new(code, text))
    }

    /// The connection has no record: the record expired, or `$disconnect` was already handled.
    pub(crate) fn connection_gone() -> Self {
        Self::client_error(ErrorCode::Gone, "the server has no record of this connection: close it and reconnect")
    }

    /// Returns whether the error is [`Self::connection_gone`].
    pub(crate) fn is_connection_gone(&self) -> bool {
        matches!(self, Self::Rejected(error) if error.code == ErrorCode::Gone)
    }

    /// The budget of the connection is used up for `wait`.
    pub(crate) fn rate_limited(wait: Duration) -> Self {
        // Rounded up, so that a client that waits exactly this long is not rejected again.
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Self::Rejected(ClientError {
            retry_after_ms: Some(retry_after_ms),
            ..ClientError::new(
                ErrorCode::RateLimited,
                "this connection, or all of this user together, has read or joined too much in a short time: wait for 'retryAfterMs' milliseconds",
            )
        })
    }

    pub(crate) fn unavailable(part: &'static str) -> Self {
        Self::client_error(ErrorCode::Unavailable, format!("{part} is unavailable: try again later"))
    }
}

impl From<ClientError> for ActionError {
    fn from(error: ClientError) -> Self {
        Self::Rejected(error)
    }
}

impl From<HandlerError> for ActionError {
    fn from(error: HandlerError) -> Self {
        Self::Internal(error)
    }
}

impl From<StoreError> for ActionError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable("the connection store"),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<LogError> for ActionError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(_) => Self::unavailable("the message log"),
            LogError::Full(_) => Self::client_error(
                ErrorCode::LogFull,
                "the message was not stored because the message log is full: try again later, or contact the operator",
            ),
            error => Self::Internal(error.into()),
        }
    }
}

impl From<DeliveryError> for ActionError {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Unavailable(_) => Self::unavailable("delivery"),
            error => Self::Internal(error.into()),
        }
    }
}
