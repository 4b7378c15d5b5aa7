//! The messaging application's HTTP API under `/v1`: bytes in, bytes out; what it does is in `handlers::api`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use handlers::api::PUSH_BYTES;
use http::{HeaderMap, Method, Request, StatusCode};
use warp::Filter;
use warp::path::FullPath;
use warp::reply::{Reply, Response};

use super::body::{BodyError, read_body};
use super::{listener::Routes, raw_query};

pub use handlers::api::Api as HttpApi;

/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes; with no API every request is left to the routes behind.
pub fn routes(api: Option<Arc<HttpApi>>) -> Routes {
    let Some(api) = api else {
        return warp::any().and_then(|| async { Err(warp::reject::not_found()) }).boxed();
    };
    warp::path("v1")
        .and(warp::path::full())
        .and(raw_query())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |path: FullPath, query, method, headers, body| {
            let api = api.clone();
            async move {
                match read_body(body, PUSH_BYTES, BODY_TIMEOUT).await {
                    Ok(body) => answer(&api, path.as_str(), query, method, headers, body).await,
                    Err(error) => refuse(error),
                }
            }
        })
        .boxed()
}

async fn answer(
    api: &HttpApi,
    path: &str,
    query: Option<String>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let uri = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let Ok(mut request) = Request::builder().method(method).uri(uri).body(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.headers_mut() = headers;
    let (parts, body) = api.handle(request).await.into_parts();
    let mut response = body.to_vec().into_response();
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    response
}

fn refuse(error: BodyError) -> Response {
    let (status, detail) = match error {
        BodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 4 MiB; send a smaller batch"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive within 10 s"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "the body broke off"),
    };
    let problem = serde_json::json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail});
    let reply = warp::reply::with_status(problem.to_string(), status);
    warp::reply::with_header(reply, http::header::CONTENT_TYPE, "application/problem+json").into_response()
}
