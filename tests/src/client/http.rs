//! HTTP calls of a backend or an operator, each with a deadline.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::eventually::with_timeout;

/// A caller of one server.
#[derive(Clone)]
pub struct HttpCaller {
    base: String,
    token: Option<String>,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl HttpCaller {
    /// A caller of `base`, `http://host:port`, without a token.
    #[must_use]
    pub fn with_base_url(base: &str) -> Self {
        Self { base: base.to_owned(), token: None, pool: Pool::builder(TokioExecutor::new()).build_http() }
    }

    /// The same with a bearer token.
    #[must_use]
    pub fn with_token(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }

    /// `GET`.
    pub async fn get(&self, path: &str) -> HttpReply {
        self.call(Method::GET, path, &[], Bytes::new()).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> HttpReply {
        self.call(Method::DELETE, path, &[], Bytes::new()).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> HttpReply {
        self.call(Method::POST, path, &[(CONTENT_TYPE.as_str(), "application/json")], body.to_string().into()).await
    }

    /// `POST` with a JSON body and an `Idempotency-Key`.
    pub async fn post_idempotent(&self, path: &str, key: &str, body: &Value) -> HttpReply {
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), ("idempotency-key", key)];
        self.call(Method::POST, path, &headers, body.to_string().into()).await
    }

    /// Any call.
    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Bytes) -> HttpReply {
        let what = format!("an answer to {method} {path}");
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
            let body = body.collect().await.unwrap_or_else(|error| panic!("half of {what}: {error}"));
            HttpReply { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() }
        })
        .await
    }
}

impl HttpReply {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {:?}", self.body))
    }

    /// The body of a call that has to succeed, as JSON.
    pub fn expect_ok(&self) -> Value {
        assert_eq!(self.status, 200, "{:?}", self.body);
        self.json()
    }

    /// The problem document (RFC 9457) of a call that has to fail with `status`.
    pub fn expect_problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(["type", "title", "detail"].iter().all(|field| problem[field].is_string()), "{problem}");
        problem
    }

    /// A header's text, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}
