//! Every error of `@connections` with its status, exception name and body.
//!
//! Invariant: the status and the exception name always agree with API Gateway's service model, so that boto3 and the
//! SDKs for JavaScript and Rust raise what they raise on AWS.

use http::StatusCode;

use crate::iam::SignatureError;

/// Room for the id in the body of [`ManagementError::MalformedId`]; the rest of a longer one is cut off.
const MAX_ECHOED_ID_CHARS: usize = 128;

/// Why a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// The connection is closed, was never there, or has not had its `101` yet.
    #[error("the connection is gone")]
    Gone,
    /// No connection can have this id. The id is the caller's own text, as decoded.
    #[error("the connection id is malformed")]
    MalformedId(String),
    /// The stage or the form of the path is wrong, or the caller is not allowed here.
    #[error("the path or the caller is not allowed")]
    Forbidden,
    /// The caller is not let in, or the method does not exist.
    #[error("the call carries no authentication")]
    MissingAuthenticationToken,
    /// The signature is missing or does not hold.
    #[error("the signature does not hold")]
    Signature(SignatureError),
    /// The caller's policy does not allow it.
    #[error("the caller's policy does not allow the call")]
    AccessDenied {
        /// The ARN of the caller.
        caller: String,
        /// The ARN of the connection.
        resource: String,
    },
    /// The body is larger than the quota.
    #[error("the payload is too large")]
    PayloadTooLarge,
    /// The body is not UTF-8, so that no text frame can carry it (AWS's answer is unknown; 400 is our choice).
    #[error("the payload is not UTF-8")]
    InvalidPayload,
    /// Too many calls, or the connection's buffer is full.
    #[error("the limit is exceeded")]
    LimitExceeded,
    /// Something failed in this server.
    #[error("internal failure")]
    Internal,
}

impl ManagementError {
    /// The status of the response.
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

    /// The value of `x-amzn-ErrorType` (CX-20, CX-22).
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

    /// The body: empty or JSON.
    #[must_use]
    pub fn response_body(&self) -> String {
        match self {
            Self::Gone | Self::LimitExceeded => String::new(),
            Self::MalformedId(id) => {
                let shown: String = id.chars().take(MAX_ECHOED_ID_CHARS).collect();
                message_json(&format!("Invalid connectionId: {shown}"))
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

/// `{"<key>":"<text>"}` with the text escaped.
fn member_json(key: &str, text: &str) -> String {
    format!(r#"{{"{key}":{}}}"#, serde_json::Value::from(text))
}
