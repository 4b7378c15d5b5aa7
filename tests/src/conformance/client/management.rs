//! `@connections` calls as made by a backend without an SDK.

use std::time::Duration;

use bytes::Bytes;

use super::dial::escape;
use crate::conformance::wire::WireConnection;
use crate::conformance::wire::endpoint_address::EndpointAddress;
use crate::conformance::wire::head::ResponseHead;

/// Request to `@connections`.
#[derive(Debug, Clone)]
pub struct ManagementRequest {
    /// HTTP method, valid or not.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// Additional header fields.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

/// Response to a request.
#[derive(Debug, Clone)]
pub struct ManagementReply {
    /// Status and header fields.
    pub head: ResponseHead,
    /// Body.
    pub body: Bytes,
}

impl ManagementRequest {
    /// Returns a request with `method` for the connection `id`, at the stage of `endpoint`.
    #[must_use]
    pub fn new(method: &str, endpoint: &EndpointAddress, id: &str) -> Self {
        let stage = if endpoint.stage.is_empty() { String::new() } else { endpoint.path() };
        let path = format!("{stage}/@connections/{}", escape(id));
        Self { method: method.to_owned(), path, headers: Vec::new(), body: Vec::new() }
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl ManagementReply {
    /// Returns the status and `x-amzn-ErrorType`, from which an SDK derives its exception.
    #[must_use]
    pub fn error(&self) -> (u16, Option<&str>) {
        (self.head.status, self.head.header("x-amzn-errortype"))
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request on a new connection.
///
/// # Errors
/// The endpoint does not respond.
pub async fn call(
    endpoint: &EndpointAddress,
    call: &ManagementRequest,
    timeout: Duration,
) -> anyhow::Result<ManagementReply> {
    let mut wire = WireConnection::open(endpoint, timeout).await?;
    let mut request = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", call.method, call.path, endpoint.authority);
    for (name, value) in &call.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", call.body.len()));
    // A server may respond to a large body before reading all of it, so a failed write is not an error.
    let _ = wire.send(&[request.as_bytes(), &call.body].concat()).await;
    let head = wire.head().await?;
    let body = wire.body(&head).await?;
    Ok(ManagementReply { head, body })
}
