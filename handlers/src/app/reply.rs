//! What every handler needs at its edges: who is calling, how an answer is shaped, how a failure is sorted.
//!
//! Invariant: "the part is away" is told to the client as `unavailable`, everything else that a port reports is the
//! gateway's to answer.

use aws_lambda_events::apigw::{
    ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext,
};
use aws_lambda_events::encodings::Body;

use super::HandlerError;
use crate::frame::{ErrorCode, Refusal};
use crate::id::ConnectionId;
use crate::identity::Identity;
use crate::ports::{DeliveryError, LogError, StoreError};

/// Who sent an event.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) connection: ConnectionId,
    pub(crate) identity: Identity,
}

/// Why an action gives no regular answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client is told.
    Refused(Refusal),
    /// The gateway is told.
    Broken(HandlerError),
}

impl Caller {
    /// Reads the caller off an event, from the authorizer's context alone.
    pub(crate) fn of(event: &ApiGatewayWebsocketProxyRequest) -> Result<Self, HandlerError> {
        let connection = connection_id(&event.request_context)?;
        let identity = Identity::from_context(&event.request_context.authorizer.fields)?;
        Ok(Self { connection, identity })
    }
}

/// The connection that an event is about.
pub(crate) fn connection_id(context: &ApiGatewayWebsocketProxyRequestContext) -> Result<ConnectionId, HandlerError> {
    let text = context.connection_id.as_deref().unwrap_or_default();
    ConnectionId::parse(text).map_err(|_| HandlerError::Event("requestContext.connectionId"))
}

/// An answer without a frame.
pub(crate) fn status(code: i64) -> ApiGatewayProxyResponse {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = code;
    response
}

/// An answer that is one frame.
pub(crate) fn respond(frame: String) -> ApiGatewayProxyResponse {
    let mut response = status(200);
    response.body = Some(Body::Text(frame));
    response
}

impl Failure {
    pub(crate) fn refused(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::Refused(Refusal::new(code, text))
    }

    /// The server does not know the connection (any more): its record expired, or its end was already handled.
    pub(crate) fn gone() -> Self {
        Self::refused(ErrorCode::Gone, "the server no longer knows this connection: close it and connect again")
    }

    /// Whether it is for that.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == ErrorCode::Gone)
    }

    pub(crate) fn unavailable(part: &'static str) -> Self {
        Self::refused(ErrorCode::Unavailable, format!("{part} is not available at the moment: try again later"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<HandlerError> for Failure {
    fn from(error: HandlerError) -> Self {
        Self::Broken(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable("the list of connections"),
            error => Self::Broken(error.into()),
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(_) => Self::unavailable("the message log"),
            LogError::Full(_) => Self::refused(
                ErrorCode::LogFull,
                "the message was not kept, the log has no room left: try again later, or tell the operator",
            ),
            error => Self::Broken(error.into()),
        }
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        match error {
            DeliveryError::Unavailable(_) => Self::unavailable("delivery"),
            error => Self::Broken(error.into()),
        }
    }
}
