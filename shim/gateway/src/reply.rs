//! Reply of an integration, and the frame that the client of a message receives for it.
//!
//! ```text
//! handler reply ─ grammar ─ ok ──── one-way route → nothing          two-way route → body as a text frame
//!                    └──── not ok ─ error frame "Internal server error" on both
//! ```
//! The grammar is checked on one-way routes as well (MSG-1). No reply closes a connection (MSG-7).

mod parse;

use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use crate::id::GatewayId;
use crate::route::RouteResponse;

/// A reply that complies with the grammar of Lambda proxy responses.
#[derive(Clone, PartialEq)]
pub struct IntegrationReply {
    /// Status, 200 to 599.
    pub status: u16,
    /// `headers` merged with `multiValueHeaders` (SUB-6).
    pub headers: HeaderMap,
    /// Body as returned; base64 is not decoded.
    pub body: Option<String>,
    /// `isBase64Encoded` as returned.
    pub is_base64: bool,
}

/// Error of invoking an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrationError {
    /// The function failed, crashed or could not be loaded.
    Function,
    /// The function's result is not a valid proxy response.
    Malformed,
    /// The integration timeout passed; the function may still run.
    TimedOut,
    /// The function may not be invoked or does not exist.
    NotInvokable,
    /// Lambda throttled the invocation.
    Throttled,
}

/// Reason why a function's response is not a proxy response. It contains no values, which may be user data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyFormatError {
    #[error("the response is not JSON: error in line {line}, column {column}")]
    NotJson { line: usize, column: usize },
    #[error("the response is {0}, not an object with statusCode, headers, multiValueHeaders, body and isBase64Encoded")]
    NotAnObject(&'static str),
    /// The name is `None` when it may be user data.
    #[error("the response has {}; only statusCode, headers, multiValueHeaders, body and isBase64Encoded are allowed", field_name(.0.as_deref()))]
    UnknownField(Option<Box<str>>),
    #[error("{field} is {found}, not {expected}")]
    WrongType { field: &'static str, expected: &'static str, found: &'static str },
    #[error("statusCode is not a number from 200 to 599")]
    InvalidStatus,
    #[error("{0} contains an invalid name or value")]
    InvalidHeader(&'static str),
}

impl ReplyFormatError {
    fn not_json(error: &serde_json::Error) -> Self {
        Self::NotJson { line: error.line(), column: error.column() }
    }
}

impl From<ReplyFormatError> for IntegrationError {
    fn from(_: ReplyFormatError) -> Self {
        Self::Malformed
    }
}

fn field_name(name: Option<&str>) -> String {
    name.map_or_else(|| "a field with another name".to_owned(), |name| format!("the field {name:?}"))
}

/// Kind of an error frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFrameKind {
    /// No route matched and there is no `$default` (RT-8).
    Forbidden,
    /// The integration failed.
    InternalServerError,
    /// The integration took too long.
    EndpointTimedOut,
    /// A rate limit was exceeded (text unverified, ERR-4).
    TooManyRequests,
}

/// Frame that the client of a message receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageOutcome {
    /// No frame.
    NoFrame,
    /// Frame with this text, which is empty when a two-way route's reply has no body.
    Frame(String),
    /// Error frame of this kind; see [`error_frame`].
    ErrorFrame(ErrorFrameKind),
}

/// Returns the frame that the client receives for the result of a message's integration.
///
/// The status of a reply has no effect, and base64 is sent undecoded (MSG-6 does not specify it).
#[must_use]
pub fn message_outcome(result: Result<IntegrationReply, IntegrationError>, response: RouteResponse) -> MessageOutcome {
    match (result, response) {
        (Ok(_), RouteResponse::OneWay) => MessageOutcome::NoFrame,
        (Ok(reply), RouteResponse::TwoWay) => MessageOutcome::Frame(reply.body.unwrap_or_default()),
        (Err(IntegrationError::TimedOut), _) => MessageOutcome::ErrorFrame(ErrorFrameKind::EndpointTimedOut),
        (Err(_), _) => MessageOutcome::ErrorFrame(ErrorFrameKind::InternalServerError),
    }
}

/// Returns the text of an error frame (ERR-1); `request_id` is that of the message's event (ERR-2).
#[must_use]
pub fn error_frame(kind: ErrorFrameKind, connection_id: GatewayId, request_id: GatewayId) -> String {
    error_json(kind.message(), connection_id, request_id)
}

/// Returns the text of the error frame for a message that the route's request model rejects, with the spacing of the
/// documentation (MSG-9). It contains the message id instead of the request id.
#[must_use]
pub fn bad_request_frame(connection_id: GatewayId, message_id: GatewayId) -> String {
    format!(r#"{{"message" : "Bad request body", "connectionId": "{connection_id}", "messageId": "{message_id}"}}"#)
}

/// Returns the JSON of an error. `message` must need no escapes in JSON.
pub(crate) fn error_json(message: &str, connection_id: GatewayId, request_id: GatewayId) -> String {
    let parts = [
        r#"{"message": ""#,
        message,
        r#"", "connectionId":""#,
        &connection_id,
        r#"", "requestId":""#,
        &request_id,
        r#""}"#,
    ];
    parts.concat()
}

impl IntegrationReply {
    /// Converts the typed reply of a handler in this process.
    ///
    /// # Errors
    /// [`IntegrationError::Malformed`] when the status is outside 200 to 599 or there are unknown keys (MSG-1).
    pub fn from_lambda_response(response: ApiGatewayProxyResponse) -> Result<Self, IntegrationError> {
        parse::reply_from_response(response).ok_or(IntegrationError::Malformed)
    }

    /// Parses a reply in JSON with API Gateway's grammar, which is more lenient than that of `aws_lambda_events`.
    ///
    /// # Errors
    /// [`IntegrationError::Malformed`] for `null`, text, arrays, unknown keys and wrong types (MSG-1, MSG-2).
    pub fn from_json(bytes: &[u8]) -> Result<Self, IntegrationError> {
        Ok(Self::parse(bytes)?)
    }

    /// Parses a reply in JSON; see [`IntegrationReply::from_json`].
    ///
    /// # Errors
    /// [`ReplyFormatError`] with the reason.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReplyFormatError> {
        parse::reply_from_json(serde_json::from_slice(bytes).map_err(|error| ReplyFormatError::not_json(&error))?)
    }

    /// Parses a reply from a JSON value; see [`IntegrationReply::from_json`].
    ///
    /// # Errors
    /// The same as those of [`IntegrationReply::from_json`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, IntegrationError> {
        Ok(parse::reply_from_json(value)?)
    }

    /// Returns the handler's subprotocol, from either header map and in any case (SUB-1, SUB-3); the last one wins.
    #[must_use]
    pub fn chosen_subprotocol(&self) -> Option<HeaderValue> {
        self.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().next_back().cloned()
    }
}

impl IntegrationError {
    /// Returns the status of a handshake whose `$connect` failed with this error.
    #[must_use]
    pub const fn handshake_status(self) -> StatusCode {
        match self {
            Self::Function | Self::Malformed => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::NotInvokable | Self::Throttled => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl ErrorFrameKind {
    /// Returns the `message` of the frame.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Forbidden => "Forbidden",
            Self::InternalServerError => "Internal server error",
            Self::EndpointTimedOut => "Endpoint request timed out",
            Self::TooManyRequests => "Too Many Requests",
        }
    }
}

impl std::fmt::Debug for IntegrationReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.body.as_ref().map(String::len);
        f.debug_struct("IntegrationReply")
            .field("status", &self.status)
            .field("body_bytes", &bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
