//! Every error of the HTTP API, as an RFC 9457 problem document.
//!
//! Invariant: this is the one place that turns an error into a status, and what a client reads here never contains what
//! an adapter said; that goes to the log. It decides nothing about when an error happens.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::ports::{DeliveryError, LogError, StoreError};

/// The media type of a problem document (RFC 9457, section 3).
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Seconds after which a call that found a port unavailable is worth repeating: about a failover's length.
const RETRY_AFTER_SECONDS: &str = "2";

/// Which part of the request a mistake is in.
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

/// One mistake in one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    #[serde(flatten)]
    pub location: ErrorLocation,
    pub detail: String,
}

/// What a client reads about an error.
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
    malformed: BAD_REQUEST, "malformed", "The request could not be read";
    unauthorized: UNAUTHORIZED, "unauthorized", "Nobody could be identified";
    forbidden: FORBIDDEN, "forbidden", "The role may not do this";
    not_found: NOT_FOUND, "not-found", "There is no such thing";
    method_not_allowed: METHOD_NOT_ALLOWED, "method-not-allowed", "The method does not exist here";
    payload_too_large: PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    unsupported_media_type: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON";
    unprocessable: UNPROCESSABLE_ENTITY, "invalid", "The request has mistakes";
    internal_error: INTERNAL_SERVER_ERROR, "internal", "The server failed";
    unavailable: SERVICE_UNAVAILABLE, "unavailable", "The server cannot answer now";
    storage_full: INSUFFICIENT_STORAGE, "storage-full", "No room is left to store messages";
}

impl ProblemDetails {
    /// 401 with the challenge that names the ways in (RFC 6750, section 3).
    pub(super) fn authentication_required(detail: &'static str, challenge: &'static str) -> Self {
        Self::unauthorized(detail).with_header("www-authenticate", challenge)
    }

    /// 403 with RFC 6750's word for a role that does not reach.
    pub(super) fn insufficient_role() -> Self {
        let challenge = "Bearer realm=\"twinway\", error=\"insufficient_scope\"";
        Self::forbidden("the HTTP API takes the roles 'service' and 'admin'").with_header("www-authenticate", challenge)
    }

    /// 405 with the method that exists (RFC 9110, section 15.5.6).
    pub(super) fn wrong_method(method: &'static str) -> Self {
        Self::method_not_allowed(format!("this resource knows {method}")).with_header("allow", method)
    }

    /// 422 with every mistake that was found.
    pub(super) fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => Cow::from(only.detail.clone()),
            several => Cow::from(format!("{} mistakes were found", several.len())),
        };
        Self { errors, ..Self::unprocessable(detail) }
    }

    /// 422 for one query parameter.
    pub(super) fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::invalid_fields(vec![FieldError {
            location: ErrorLocation::Parameter(name.to_owned()),
            detail: detail.into(),
        }])
    }

    /// 503 with the time after which to try again (RFC 9110, section 10.2.3).
    pub(super) fn retry_later(detail: &'static str) -> Self {
        Self::unavailable(detail).with_header("retry-after", RETRY_AFTER_SECONDS)
    }

    /// `name` is in lower case, as [`HeaderName::from_static`] wants it.
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
                tracing::warn!(error = %errors::chain(&error), "api call failed");
                Self::retry_later("the list of connections is away")
            }
            StoreError::InvalidPageToken => {
                Self::invalid_parameter("after", "not a page token that a listing returned")
            }
            StoreError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api call failed");
                Self::internal_error("the list of connections failed")
            }
        }
    }
}

impl From<LogError> for ProblemDetails {
    fn from(error: LogError) -> Self {
        match &error {
            LogError::Unavailable(_) => {
                tracing::warn!(error = %errors::chain(&error), "api call failed");
                Self::retry_later("the message log is away; the same call with the same Idempotency-Key is safe")
            }
            LogError::Full(_) => {
                tracing::error!(error = %errors::chain(&error), "api call failed");
                Self::storage_full("the message log takes no more messages; reading goes on")
            }
            LogError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api call failed");
                Self::internal_error("the message log failed")
            }
        }
    }
}

impl From<DeliveryError> for ProblemDetails {
    fn from(error: DeliveryError) -> Self {
        match &error {
            DeliveryError::Unavailable(_) => {
                tracing::warn!(error = %errors::chain(&error), "api call failed");
                Self::retry_later("the way to the connections is down")
            }
            DeliveryError::Backend { .. } => {
                tracing::error!(error = %errors::chain(&error), "api call failed");
                Self::internal_error("the delivery failed")
            }
        }
    }
}
