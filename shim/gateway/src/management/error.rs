//! Errors of `@connections` with their statuses, exception names and bodies.
//!
//! Status and exception name agree with API Gateway's service model, so that boto3 and the SDKs for JavaScript and Rust
//! raise the same exceptions as on AWS.

use http::StatusCode;

use crate::iam::SignatureError;

/// Maximum characters of the id in the body of [`ManagementError::MalformedId`]; a longer one is truncated.
const MAX_ECHOED_ID_CHARS: usize = 128;

/// Error of a call of `@connections`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// The connection is closed, never existed, or has not received its `101` yet.
    #[error("the connection is gone")]
    Gone,
    /// The connection id is malformed. The value is the decoded text from the path.
    #[error("the connection id is malformed")]
    MalformedId(String),
    /// The stage or the form of the path is invalid, or the caller is not allowed.
    #[error("forbidden path or caller")]
    Forbidden,
    /// The call is not authenticated, or the method does not exist.
    #[error("missing authentication token")]
    MissingAuthenticationToken,
    /// The signature is missing or invalid.
    #[error("invalid signature")]
    Signature(SignatureError),
    /// The caller's policy does not allow the call.
    #[error("access denied by the caller's policy")]
    AccessDenied {
        /// ARN of the caller.
        caller: String,
        /// ARN of the connection.
        resource: String,
    },
    /// The body is larger than the quota.
    #[error("the payload is too large")]
    PayloadTooLarge,
    /// The body is not UTF-8, so it cannot be sent as a text frame. AWS's status is unknown; 400 is chosen here.
    #[error("the payload is not UTF-8")]
    InvalidPayload,
    /// The rate limit is exceeded, or the connection's outbox is full.
    #[error("limit exceeded")]
    LimitExceeded,
    /// Internal error of the server.
    #[error("internal error")]
    Internal,
}

impl ManagementError {
    /// Returns the status of the response.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Gone => StatusCode::GONE,
            Self::MalformedId(_) | Self::InvalidPayload => StatusCode::BAD_REQUEST,
            Self::Forbidden | Self::MissingAuthenticationToken | Self::Signature(_) | Self::AccessDenied { .. } => {
                StatusCode::FORBIDDEN
            }
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LimitExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the value of `x-amzn-ErrorType` (CX-20, CX-22).
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::Gone => "GoneException",
            Self::MalformedId(_) | Self::InvalidPayload => "BadRequestException",
            Self::Forbidden => "ForbiddenException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::Signature(error) => error.error_type(),
            Self::AccessDenied { .. } => "AccessDeniedException",
            Self::PayloadTooLarge => "PayloadTooLargeException",
            Self::LimitExceeded => "LimitExceededException",
            Self::Internal => "InternalServerErrorException",
        }
    }

    /// Returns the body: empty or JSON.
    #[must_use]
    pub fn response_body(&self) -> String {
        match self {
            Self::Gone | Self::LimitExceeded => String::new(),
            Self::MalformedId(id) => {
                let truncated: String = id.chars().take(MAX_ECHOED_ID_CHARS).collect();
                message_json(&format!("Invalid connectionId: {truncated}"))
            }
            Self::Forbidden => message_json("Forbidden"),
            Self::MissingAuthenticationToken => message_json("Missing Authentication Token"),
            Self::Signature(error) => message_json(&error.message()),
            Self::AccessDenied { caller, resource } => {
                let text = format!(
                    "User: {caller} is not authorized to perform: execute-api:ManageConnections on resource: {resource}"
                );
                member_json("Message", &text)
            }
            Self::PayloadTooLarge => message_json("Message too long"),
            Self::InvalidPayload => message_json("Message is not valid UTF-8"),
            Self::Internal => message_json("Internal server error"),
        }
    }
}

fn message_json(text: &str) -> String {
    member_json("message", text)
}

/// Returns `{"<key>":"<text>"}` with the text escaped.
fn member_json(key: &str, text: &str) -> String {
    format!(r#"{{"{key}":{}}}"#, serde_json::Value::from(text))
}
