//! What every function does around its handler: log lines for CloudWatch, and errors that say what failed.
//!
//! Invariant: a line is one JSON object with the request's id and, where Lambda traces, its X-Ray id; none has a body, a
//! token or a client's address. An event that is not one becomes the invocation's error; the process lives on.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use lambda_http::{Body, RequestExt};
use lambda_runtime::Diagnostic;
use tracing_subscriber::EnvFilter;

/// The level where neither `AWS_LAMBDA_LOG_LEVEL` nor `RUST_LOG` sets one.
const DEFAULT_FILTER: &str = "info";

/// Starts logging to standard output, which Lambda collects. The runtime's span carries `requestId` and `xrayTraceId`
/// into every line. A second call changes nothing.
pub fn start_logging(source: crate::config::EnvironmentLookup<'_>) {
    let filter = source("AWS_LAMBDA_LOG_LEVEL").or_else(|| source("RUST_LOG"));
    let filter = EnvFilter::builder().parse_lossy(filter.as_deref().unwrap_or(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).json();
    // Only a test starts it twice in one process.
    drop(lines.flatten_event(true).with_current_span(true).with_span_list(false).try_init());
}

/// A handler's failure as Lambda records it: the whole chain, for the log; clients never see it.
#[derive(Debug)]
pub struct InvocationError {
    kind: &'static str,
    message: String,
}

impl InvocationError {
    /// The invocation's error of that type.
    pub fn new(kind: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error.kind = kind, error = %errors::chain(error), "the event was not handled");
        Self { kind, message: errors::chain(error).to_string() }
    }

    /// An error whose text somebody compares: nothing may be added to it.
    #[must_use]
    pub fn with_exact_text(kind: &'static str, message: String) -> Self {
        Self { kind, message }
    }
}

impl fmt::Display for InvocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for InvocationError {}

impl From<InvocationError> for Diagnostic {
    fn from(failed: InvocationError) -> Self {
        Self { error_type: failed.kind.to_owned(), error_message: failed.message }
    }
}

/// The request of an HTTP API (payload format 2.0) as the application takes it: the path without the stage.
#[must_use]
pub fn http_request(request: lambda_http::Request) -> Request<Bytes> {
    let path = application_path(&request);
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Both parts were in a URI; should they not make one, the path that is there gets a 404.
    parts.uri = format!("{path}{query}").parse().unwrap_or(parts.uri);
    Request::from_parts(parts, body_bytes(body))
}

/// An HTTP API sends the stage as the path's first part, unless it is `$default` or a custom domain maps it away.
fn application_path(request: &lambda_http::Request) -> String {
    let path = request.raw_http_path();
    let stage = match request.request_context_ref() {
        Some(lambda_http::request::RequestContext::ApiGatewayV2(context)) => context.stage.as_deref(),
        _ => None,
    };
    let behind = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    behind.filter(|behind| behind.starts_with('/')).unwrap_or(path).to_owned()
}

fn body_bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    }
}

/// The application's answer; all of its bodies are JSON text.
#[must_use]
pub fn http_response(response: Response<Bytes>) -> Response<Body> {
    response.map(|body| match String::from_utf8(body.into()) {
        Ok(text) if text.is_empty() => Body::Empty,
        Ok(text) => Body::Text(text),
        Err(error) => Body::Binary(error.into_bytes()),
    })
}

#[cfg(test)]
mod tests;
