//! Every answer of the Runtime API, byte for byte as RAPID gives it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Answer;
use super::body::PAYLOAD_BYTES;
use crate::invocation::Event;
use crate::pool::Refusal;

/// The event of `/next` with its headers (Lambda developer guide, `runtimes-api`).
pub(super) fn event(event: &Event, arn: &str, deadline_ms: u64) -> Answer {
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

/// What was posted is taken.
pub(super) fn accepted() -> Answer {
    json_answer(StatusCode::ACCEPTED, &json!({"status": "OK"}))
}

/// An answer that is not taken.
pub(super) fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::Request => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Refusal::State => error(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "State transition failed for runtime. Error: State transition is not allowed",
        ),
        Refusal::Late => error(StatusCode::GONE, "InvokeTimeout", "Invoke timeout"),
    }
}

pub(super) fn too_large() -> Answer {
    let message = format!("Exceeded maximum allowed payload size ({PAYLOAD_BYTES} bytes).");
    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

pub(super) fn truncated() -> Answer {
    error(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "HTTP request detected as truncated")
}

pub(super) fn invalid_mode() -> Answer {
    error(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", "Invalid function response mode")
}

/// RAPID takes subscriptions that it cannot serve with this status.
pub(super) fn unsupported(api: &str) -> Answer {
    let message = format!("{api} API is not supported");
    error(StatusCode::ACCEPTED, &format!("{api}.NotSupported"), &message)
}

pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found")
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

pub(super) fn error(status: StatusCode, kind: &str, message: &str) -> Answer {
    json_answer(status, &json!({"errorMessage": message, "errorType": kind}))
}

pub(super) fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
