//! Responses of the Runtime API, byte for byte as those of RAPID.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::RuntimeApiResponse;
use super::body::MAX_PAYLOAD_BYTES;
use crate::invocation::InvocationEvent;
use crate::pool::RuntimeCallError;

/// Returns the response of `/next`: the event with its headers (Lambda developer guide, `runtimes-api`).
pub(super) fn event_response(event: &InvocationEvent, arn: &str, deadline_ms: u64) -> RuntimeApiResponse {
    let mut response = Response::new(Full::new(event.payload.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(HeaderName::from_static("lambda-runtime-deadline-ms"), deadline_ms.into());
    let texts = [
        ("lambda-runtime-aws-request-id", &*event.request_id),
        ("lambda-runtime-invocation-id", &*event.nonce),
        ("lambda-runtime-invoked-function-arn", arn),
        ("lambda-runtime-trace-id", &*event.trace_id),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Returns the response to an accepted post.
pub(super) fn accepted_response() -> RuntimeApiResponse {
    json_response(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

/// Returns the response to a rejected call.
pub(super) fn rejected_response(error: RuntimeCallError) -> RuntimeApiResponse {
    match error {
        RuntimeCallError::UnknownRequest => {
            error_response(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
        }
        RuntimeCallError::InvalidState => error_response(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "State transition failed for runtime. Error: State transition is not allowed",
        ),
        RuntimeCallError::TimedOut => error_response(StatusCode::GONE, "InvokeTimeout", "Invoke timeout"),
    }
}

/// Returns the response to a request that does not come from a runtime.
pub(super) fn foreign_request() -> RuntimeApiResponse {
    error_response(StatusCode::FORBIDDEN, "Forbidden", "The Runtime API accepts requests of its function only.")
}

/// Returns the response of the metadata endpoint, which functions may cache for 12 hours.
pub(super) fn execution_environment(zone: &str) -> RuntimeApiResponse {
    let mut response = json_response(StatusCode::OK, &json!({"AvailabilityZoneID": zone}));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=43200"));
    response
}

pub(super) fn missing_metadata_token() -> RuntimeApiResponse {
    let message = "The Authorization header must be 'Bearer' and the value of AWS_LAMBDA_METADATA_TOKEN.";
    error_response(StatusCode::UNAUTHORIZED, "Unauthorized", message)
}

pub(super) fn payload_too_large() -> RuntimeApiResponse {
    let message = format!("Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes).");
    error_response(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

pub(super) fn truncated_request() -> RuntimeApiResponse {
    error_response(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "HTTP request detected as truncated")
}

pub(super) fn invalid_response_mode() -> RuntimeApiResponse {
    error_response(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", "Invalid function response mode")
}

/// Returns the response to a subscription of an unsupported API; the status is that of RAPID.
pub(super) fn unsupported_api(api: &str) -> RuntimeApiResponse {
    let message = format!("{api} API is not supported");
    error_response(StatusCode::ACCEPTED, &format!("{api}.NotSupported"), &message)
}

pub(super) fn not_found() -> RuntimeApiResponse {
    text_response(StatusCode::NOT_FOUND, "404 page not found")
}

pub(super) fn text_response(status: StatusCode, text: &'static str) -> RuntimeApiResponse {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn error_response(status: StatusCode, kind: &str, message: &str) -> RuntimeApiResponse {
    json_response(status, &json!({"errorMessage": message, "errorType": kind}))
}

pub(super) fn json_response(status: StatusCode, value: &Value) -> RuntimeApiResponse {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
