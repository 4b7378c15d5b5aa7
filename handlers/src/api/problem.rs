//! Errors of the HTTP API as RFC 9457 problem documents.
//!
//! Only this module maps errors to HTTP statuses. A document never contains the text of an adapter error; that text is
//! logged.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::ports::{DeliveryError, LogError, StoreError};

/// Media type of a problem document (RFC 9457, section 3).
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// `Retry-After` in seconds while a port is unavailable: about the duration of a failover.
const RETRY_AFTER_SECONDS: &str = "2";

/// Location of an invalid value in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ErrorLocation {
    /// A JSON pointer into the body, as a URI fragment (RFC 6901, section 6).
    Pointer(String),
    /// A query parameter.
    Parameter(String),
    /// A header field.
    Header(&'static str),
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    #[serde(flatten)]
    pub location: ErrorLocation,
    pub detail: String,
}

/// A problem document and its header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ProblemDetails {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip)]
    header: Option<(&'static str, &'static str)>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

macro_rules! problems {
    ($($name:ident: $status:ident, $kind:literal, $title:literal;)*) => {
        impl ProblemDetails {
            $(pub(super) fn $name(detail: impl Into<Cow<'static, str>>) -> Self {
                Self {
                    kind: concat!("urn:twinway:problem:", $kind),
                    title: $title,
                    status: StatusCode::$status,
                    detail: detail.into(),
                    errors: Vec::new(),
                    header: None,
                }
            })*
        }
    };
}

problems! {
    malformed: BAD_REQUEST, "malformed", "Malformed request";
    unauthorized: UNAUTHORIZED, "unauthorized", "Authentication required";
    forbidden: FORBIDDEN, "forbidden", "Forbidden";
    not_found: NOT_FOUND, "not-found", "Not found";
    method_not_allowed: METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed";
    payload_too_large: PAYLOAD_TOO_LARGE, "too-large", "Request too large";
    unsupported_media_type: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type";
    unprocessable: UNPROCESSABLE_ENTITY, "invalid", "Invalid request";
    internal_error: INTERNAL_SERVER_ERROR, "internal", "Internal server error";
    unavailable: SERVICE_UNAVAILABLE, "unavailable", "Service unavailable";
    storage_full: INSUFFICIENT_STORAGE, "storage-full", "Message storage full";
}

impl ProblemDetails {
    /// Returns 401 with a challenge (RFC 6750, section 3).
    pub(super) fn authentication_required(detail: &'static str, challenge: &'static str) -> Self {
        Self::unauthorized(detail).with_header("www-authenticate", challenge)
    }

    /// Returns 403 with the error `insufficient_scope` (RFC 6750, section 3.1).
    pub(super) fn insufficient_role() -> Self {
        let challenge = "Bearer realm=\"twinway\", error=\"insufficient_scope\"";
        Self::forbidden("the HTTP API requires the role 'service' or 'admin'")
            .with_header("www-authenticate", challenge)
    }

    /// Returns 405 with the supported method (RFC 9110, section 15.5.6).
    pub(super) fn wrong_method(method: &'static str) -> Self {
        Self::method_not_allowed(format!("this resource supports {method} only")).with_header("allow", method)
    }

    /// Returns 422 with all invalid fields.
    pub(super) fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => Cow::from(only.detail.clone()),
            several => Cow::from(format!("the request has {} invalid fields", several.len())),
        };
        Self { errors, ..Self::unprocessable(detail) }
    }

    /// Returns 422 for one query parameter.
    pub(super) fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError {
            location: ErrorLocation::Parameter(name.to_owned()),
            detail: detail.into(),
        }])
    }

    /// Returns 400 for one header field.
    pub(super) fn malformed_header(name: &'static str, detail: impl Into<String>) -> Self {
        let (location, detail) = (ErrorLocation::Header(name), detail.into());
        let errors = vec![FieldError { location, detail: detail.clone() }];
        Self { errors, ..Self::malformed(detail) }
    }

    /// Returns 503 with `Retry-After` (RFC 9110, section 10.2.3).
    pub(super) fn retry_later(detail: &'static str) -> Self {
        Self::unavailable(detail).with_header("retry-after", RETRY_AFTER_SECONDS)
    }

    /// Adds a header. `name` must be lowercase, as [`HeaderName::from_static`] requires.
    const fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = serde_json::to_vec(&self).expect("a problem consists of strings and numbers");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}

impl From<StoreError> for ProblemDetails {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(_) => {
                tracing::warn!(error = %errors::chain(&error), "api request failed");
                Self::retry_later("the connection store is unavailable")
            }
            StoreError::InvalidPageToken => {
                Self::invalid_parameter("after", "must be a page token that a listing returned")
            }
            StoreError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api request failed");
                Self::internal_error("the connection store failed")
            }
        }
    }
}

impl From<LogError> for ProblemDetails {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::Unavailable(_) => {
                tracing::warn!(error = %errors::chain(&error), "api request failed");
                Self::retry_later("the message log is unavailable; retrying with the same Idempotency-Key is safe")
            }
            LogError::Full(_) => {
                tracing::error!(error = %errors::chain(&error), "api request failed");
                Self::storage_full("the message log is full; reads are not affected")
            }
            LogError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api request failed");
                Self::internal_error("the message log failed")
            }
        }
    }
}

impl From<DeliveryError> for ProblemDetails {
    fn from(error: DeliveryError) -> Self {
        match &error {
            DeliveryError::Unavailable(_) => {
                tracing::warn!(error = %errors::chain(&error), "api request failed");
                Self::retry_later("delivery is unavailable")
            }
            DeliveryError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api request failed");
                Self::internal_error("delivery failed")
            }
        }
    }
}
