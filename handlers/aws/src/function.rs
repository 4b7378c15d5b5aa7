//! Logging, error reporting and HTTP conversion of the Lambda functions.
//!
//! A log record is one JSON object with the request id and, if Lambda traces the invocation, the X-Ray trace id. No
//! record contains a message body, a token or a client's address. A malformed event fails its invocation; the process
//! continues.

use std::fmt;

use bytes::Bytes;
use http::{Request, Response};
use lambda_http::{Body, RequestExt};
use lambda_runtime::Diagnostic;
use tracing_subscriber::EnvFilter;

use crate::config::EnvironmentVariables;

/// Default level if neither `AWS_LAMBDA_LOG_LEVEL` nor `RUST_LOG` is set.
const DEFAULT_FILTER: &str = "info";

/// Starts logging to standard output, which Lambda collects. The runtime's span adds `requestId` and `xrayTraceId` to
/// every record. A second call has no effect.
pub fn start_logging(environment: &EnvironmentVariables) {
    let filter = environment.find_value("AWS_LAMBDA_LOG_LEVEL").or_else(|| environment.find_value("RUST_LOG"));
    let filter = EnvFilter::builder().parse_lossy(filter.unwrap_or(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).json();
    // `try_init` fails only if logging has started before, as in tests.
    drop(lines.flatten_event(true).with_current_span(true).with_span_list(false).try_init());
}

/// Error of an invocation as Lambda records it: its type and the whole error chain. API Gateway does not pass it to
/// clients.
#[derive(Debug)]
pub struct InvocationError {
    kind: &'static str,
    message: String,
}

impl InvocationError {
    /// Creates an error of type `kind` with the chain of `error`, and logs it.
    pub fn new(kind: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error.kind = kind, error = %errors::chain(error), "event handler failed");
        Self { kind, message: errors::chain(error).to_string() }
    }

    /// Creates an error with exactly this text, for texts that API Gateway compares.
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
    fn from(error: InvocationError) -> Self {
        Self { error_type: error.kind.to_owned(), error_message: error.message }
    }
}

/// Converts a request of an HTTP API (payload format 2.0) to the application's request, whose path has no stage.
#[must_use]
pub fn http_request(request: lambda_http::Request) -> Request<Bytes> {
    let path = application_path(&request);
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    // Path and query come from a URI and form one again; if not, the original path gets a 404.
    parts.uri = format!("{path}{query}").parse().unwrap_or(parts.uri);
    Request::from_parts(parts, body_bytes(body))
}

/// Returns the path without the stage. An HTTP API sends the stage as the first segment, unless the stage is `$default`
/// or a custom domain's mapping removes it.
fn application_path(request: &lambda_http::Request) -> String {
    let path = request.raw_http_path();
    let stage = match request.request_context_ref() {
        Some(lambda_http::request::RequestContext::ApiGatewayV2(context)) => context.stage.as_deref(),
        _ => None,
    };
    let rest = stage.and_then(|stage| path.strip_prefix('/')?.strip_prefix(stage));
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path).to_owned()
}

fn body_bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    }
}

/// Converts the application's response; all bodies are JSON text.
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
