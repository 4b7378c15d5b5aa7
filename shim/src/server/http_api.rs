//! Routes of the HTTP API under `/v1`. The requests are handled by `handlers::api` or by a Lambda function.

mod lambda;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use handlers::api::{ApiKeys, MAX_PUSH_BYTES, MessagingApi};
use handlers::app::MessagingApp;
use handlers::authorizer::TokenVerifier;
use http::{HeaderMap, Method, Request, Response as HttpResponse, StatusCode};
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

use super::body::{BodyError, read_body};
use super::listener::BoxedRoutes;
use super::raw_query;
use crate::access::client_address::ClientAddress;

pub use self::lambda::LambdaApi;

/// Maximum time that a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Handler of the HTTP API's requests.
pub enum HttpApi {
    /// The messaging application.
    Embedded(MessagingApi),
    /// A Lambda function.
    Lambda(LambdaApi),
}

impl HttpApi {
    /// Returns the HTTP API of the messaging application; see [`MessagingApi::new`].
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self::Embedded(MessagingApi::new(app, verifier, keys))
    }

    async fn handle_request(&self, request: Request<Bytes>, client: &ClientAddress) -> HttpResponse<Bytes> {
        match self {
            Self::Embedded(api) => api.handle_request(request).await,
            Self::Lambda(api) => api.handle_request(request, client).await,
        }
    }
}

/// Returns the routes; without an API every request falls through to the next filter.
pub fn http_api_routes(api: Option<Arc<HttpApi>>) -> BoxedRoutes {
    let Some(api) = api else {
        return warp::any().and_then(|| async { Err(warp::reject::not_found()) }).boxed();
    };
    warp::path("v1")
        .and(warp::path::full())
        .and(raw_query())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<ClientAddress>())
        .and(warp::body::stream())
        .then(move |path: FullPath, query, method, headers, client: ClientAddress, body| {
            let api = api.clone();
            async move {
                match read_body(body, MAX_PUSH_BYTES, BODY_TIMEOUT).await {
                    Ok(body) => match build_request(path.as_str(), query, method, headers, body) {
                        Some(request) => api_response(&api, request, &client).await,
                        None => StatusCode::BAD_REQUEST.into_response(),
                    },
                    Err(error) => body_error_response(error),
                }
            }
        })
        .boxed()
}

fn build_request(
    path: &str,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Option<Request<Bytes>> {
    let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut request = Request::builder().method(method).uri(uri).body(body).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

async fn api_response(api: &HttpApi, request: Request<Bytes>, client: &ClientAddress) -> Response {
    let (parts, body) = api.handle_request(request, client).await.into_parts();
    let mut response = body.to_vec().into_response();
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

fn body_error_response(error: BodyError) -> Response {
    let (status, detail) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB; send a smaller batch"),
        BodyError::TimedOut => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
        BodyError::Interrupted => (StatusCode::BAD_REQUEST, "the connection closed before the whole body arrived"),
    };
    let problem = serde_json::json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let reply = warp::reply::with_status(problem.to_string(), status);
    warp::reply::with_header(reply, http::header::CONTENT_TYPE, "application/problem+json").into_response()
}
