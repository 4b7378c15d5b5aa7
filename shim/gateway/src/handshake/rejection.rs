//! Every way a handshake is refused, with status and body.
//!
//! Invariant: each rejection has exactly one status, and its text tells a client nothing that its status does not. AWS
//! does not document the bodies (CON-13); ours have the form of its error frames, except `426`, which is known to be
//! empty.

use std::borrow::Cow;

use http::StatusCode;

use crate::iam::SignatureError;
use crate::id::GatewayId;
use crate::reply::IntegrationError;

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The path names no stage, or one that is not deployed: 403.
    UnknownStage,
    /// A plain HTTP request: 426 with an empty body.
    NotAnUpgrade,
    /// An upgrade that breaks RFC 6455 section 4.2.1 (version, key): 400.
    BadUpgrade,
    /// More new connections than the quota: 429.
    Throttled,
    /// A longer URL than the quota: 414.
    UrlTooLong,
    /// An API key is required and missing or unknown: 403.
    ApiKey,
    /// An identity source is missing, or the authorizer said so: 401.
    Unauthorized,
    /// The policy of the authorizer or of the signing caller does not allow the connection: 403.
    Denied,
    /// IAM authorization is asked for and there is no signature, or none that holds: 403.
    Signature(SignatureError),
    /// The authorizer failed or its result is not a policy: 500.
    AuthorizerMisconfigured,
    /// The `$connect` handler answered with this status, which is passed on: 300 to 599.
    Handler(u16),
    /// The `$connect` integration gave no reply: 502, 504 or 500.
    Integration(IntegrationError),
    /// This server takes no new connections, because it drains or is overloaded: 503. API Gateway has no such state.
    Unavailable,
}

impl Rejection {
    /// The status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::UnknownStage | Self::ApiKey | Self::Denied | Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::NotAnUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::BadUpgrade => StatusCode::BAD_REQUEST,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::AuthorizerMisconfigured => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Handler(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            Self::Integration(failure) => failure.handshake_status(),
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `message` of the body; texts are those of API Gateway's default gateway responses
    /// (developer guide, `supported-gateway-response-types`) where it has one.
    #[must_use]
    pub fn message(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Signature(error) => return error.message(),
            Self::UnknownStage | Self::ApiKey => "Forbidden",
            Self::NotAnUpgrade => "",
            Self::BadUpgrade => "Bad Request",
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

    /// The value of `x-amzn-ErrorType`, for the answers that are known to have one (developer guide,
    /// `supported-gateway-response-types`, for signatures).
    #[must_use]
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Signature(error) => Some(error.error_type()),
            _ => None,
        }
    }

    /// The body of the response: JSON, or empty for 426.
    #[must_use]
    pub fn response_body(self, connection_id: GatewayId, request_id: GatewayId) -> String {
        match &*self.message() {
            "" => String::new(),
            message => crate::reply::error_json(message, connection_id, request_id),
        }
    }
}
