//! What every handler needs at its edges: who is calling, how an answer is shaped, how a failure is sorted.
//!
//! Invariant: "the part is away" is told to the client as `unavailable`, everything else that a port reports is the
//! gateway's to answer.

use aws_lambda_events::apigw::{
    ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext,
};
use aws_lambda_events::encodings::Body;

use super::HandlerError;
use crate::frame::{ClientError, ErrorCode};
use crate::id::ConnectionId;
use crate::identity::Identity;
use crate::ports::{DeliveryError, LogError, StoreError};

/// Who sent an event.
#[derive(Debug, Clone)]
pub(crate) struct EventCaller {
    pub(crate) connection: ConnectionId,
    pub(crate) identity: Identity,
}

/// Why an action gives no regular answer.
#[derive(Debug)]
pub(crate) enum ActionError {
    /// The client is told.
    Rejected(ClientError),
    /// The gateway is told.
    Internal(HandlerError),
}

impl EventCaller {
    /// Reads the caller off an event, from the authorizer's context alone.
    pub(crate) fn from_event(event: &ApiGatewayWebsocketProxyRequest) -> Result<Self, HandlerError> {
        let connection = connection_id(&event.request_context)?;
        let identity = Identity::from_context(&event.request_context.authorizer.fields)?;
        Ok(Self { connection, identity })
    }
}

/// The connection that an event is about.
pub(crate) fn connection_id(context: &ApiGatewayWebsocketProxyRequestContext) -> Result<ConnectionId, HandlerError> {
    let text = context.connection_id.as_deref().unwrap_or_default();
    ConnectionId::parse(text).map_err(|_| HandlerError::MissingField("requestContext.connectionId"))
}

/// An answer without a frame.
pub(crate) fn status_response(code: i64) -> ApiGatewayProxyResponse {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = code;
    response
}

/// An answer that is one frame.
pub(crate) fn frame_response(frame: String) -> ApiGatewayProxyResponse {
    let mut response = status_response(200);
    response.body = Some(Body::Text(frame));
    response
}

impl ActionError {
    pub(crate) fn client_error(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Rejected(ClientError::new(code, text))
    }

    /// The server does not know the connection (any more): its record expired, or its end was already handled.
    pub(crate) fn connection_gone() -> Self {
        Self::client_error(ErrorCode::Gone, "the server no longer knows this connection: close it and connect again")
    }

    /// Whether it is for that.
    pub(crate) fn is_connection_gone(&self) -> bool {
        matches!(self, Self::Rejected(refusal) if refusal.code == ErrorCode::Gone)
    }

    pub(crate) fn unavailable(part: &'static str) -> Self {
        Self::client_error(ErrorCode::Unavailable, format!("{part} is not available at the moment: try again later"))
    }
}

impl From<ClientError> for ActionError {
    fn from(refusal: ClientError) -> Self {
        Self::Rejected(refusal)
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
            StoreError::Unavailable(_) => Self::unavailable("the list of connections"),
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
                "the message was not kept, the log has no room left: try again later, or tell the operator",
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
