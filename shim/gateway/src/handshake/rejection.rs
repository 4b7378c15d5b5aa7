//! Rejections of handshakes, with their statuses and bodies.
//!
//! Each rejection has exactly one status, and its text gives the client no more information than the status. AWS does
//! not document the bodies (CON-13). These have the form of API Gateway's error frames, except `426`, which is known to
//! be empty.

use std::borrow::Cow;

use http::StatusCode;

use crate::iam::SignatureError;
use crate::id::GatewayId;
use crate::reply::IntegrationError;

/// Reason for the rejection of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The path is not that of a deployed stage: 403.
    UnknownStage,
    /// The request is not an upgrade: 426 with an empty body.
    NotAnUpgrade,
    /// The upgrade violates RFC 6455 section 4.2.1 (version, key): 400.
    BadUpgrade,
    /// A required parameter of `$connect` is missing: 400.
    MissingParameter,
    /// The rate limit of new connections or requests is exceeded: 429.
    Throttled,
    /// The URL is longer than the quota: 414.
    UrlTooLong,
    /// The required API key is missing or unknown: 403.
    ApiKey,
    /// An identity source is missing, or the authorizer failed with `Unauthorized`: 401.
    Unauthorized,
    /// The policy of the authorizer or of the signing caller does not allow the connection: 403.
    Denied,
    /// The signature that IAM authorization requires is missing or invalid: 403.
    Signature(SignatureError),
    /// The authorizer failed or its result is not a policy: 500.
    AuthorizerMisconfigured,
    /// The `$connect` handler returned this status, which the client receives: 300 to 599.
    Handler(u16),
    /// The `$connect` integration gave no reply: 502, 504 or 500.
    Integration(IntegrationError),
    /// The server accepts no new connections, because it drains or is overloaded: 503. API Gateway has no such state.
    Unavailable,
}

impl Rejection {
    /// Returns the status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownStage | Self::ApiKey | Self::Denied | Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::BadUpgrade | Self::MissingParameter => StatusCode::BAD_REQUEST,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::AuthorizerMisconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Handler(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            Self::Integration(error) => error.handshake_status(),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the `message` of the body. Texts are those of API Gateway's default gateway responses (developer guide,
    /// `supported-gateway-response-types`) where it has one.
    #[must_use]
    pub fn message(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Signature(error) => return error.message(),
            Self::UnknownStage | Self::ApiKey => "Forbidden",
            Self::NotAnUpgrade => "",
            Self::BadUpgrade => "Bad Request",
            Self::MissingParameter => "Missing required request parameters",
            Self::Throttled => "Too Many Requests",
            Self::UrlTooLong => "URI Too Long",
            Self::Unauthorized => "Unauthorized",
            Self::Denied => "User is not authorized to access this resource",
            Self::AuthorizerMisconfigured => "Internal server error",
            Self::Handler(status) => {
                StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Rejected")
            }
            Self::Integration(IntegrationError::TimedOut) => "Endpoint request timed out",
            Self::Integration(_) => "Internal server error",
            Self::Unavailable => "Service Unavailable",
        })
    }

    /// Returns the value of `x-amzn-ErrorType`, for rejections that are known to have one (developer guide,
    /// `supported-gateway-response-types`, for signatures).
    #[must_use]
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Signature(error) => Some(error.error_type()),
            _ => None,
        }
    }

    /// Returns the body of the response: JSON, or empty for 426.
    #[must_use]
    pub fn response_body(self, connection_id: GatewayId, request_id: GatewayId) -> String {
        match &*self.message() {
            "" => String::new(),
            message => crate::reply::error_json(message, connection_id, request_id),
        }
    }
}
