//! HTTP client of a backend or an operator, with a timeout on each call.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::eventually::with_timeout;

/// HTTP client of one server.
#[derive(Clone)]
pub struct HttpCaller {
    base: String,
    token: Option<String>,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// HTTP response, read to its end.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl HttpCaller {
    /// Returns a client of `base`, `http://host:port`, without a token.
    #[must_use]
    pub fn with_base_url(base: &str) -> Self {
        Self { base: base.to_owned(), token: None, pool: Pool::builder(TokioExecutor::new()).build_http() }
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Sends a `GET` request.
    pub async fn get(&self, path: &str) -> HttpReply {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// Sends a `DELETE` request.
    pub async fn delete(&self, path: &str) -> HttpReply {
        self.call(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// Sends a `POST` request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> HttpReply {
        self.call(Method::POST, path, &[(CONTENT_TYPE.as_str(), "application/json")], body.to_string().into()).await
    }

    /// Sends a `POST` request with a JSON body and an `Idempotency-Key`.
    pub async fn post_idempotent(&self, path: &str, key: &str, body: &Value) -> HttpReply {
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), ("idempotency-key", key)];
        self.call(Method::POST, path, &headers, body.to_string().into()).await
    }

    /// Sends a request.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> HttpReply {
        let what = format!("a response to {method} {path}");
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).expect("tests make valid requests, except in raw bytes");
        with_timeout(&what, async {
            let response = self.pool.request(request).await.unwrap_or_else(|error| panic!("no {what}: {error:?}"));
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap_or_else(|error| panic!("incomplete body of {what}: {error}"));
            HttpReply { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }
        })
        .await
    }
}

impl HttpReply {
    /// Parses the body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("invalid JSON ({error}): {:?}", self.body))
    }

    /// Expects status 200 and returns the body as JSON.
    pub fn expect_ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()
    }

    /// Expects an error with `status` and returns its problem document (RFC 9457).
    pub fn expect_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(["type", "title", "detail"].iter().all(|field| problem[field].is_string()), "{problem}");
        problem
    }

    /// Returns a header's text, empty if absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
