//! Calls of `@connections` as a backend without an SDK makes them.

use std::time::Duration;

use bytes::Bytes;

use super::dial::escape;
use crate::conformance::wire::WireConnection;
use crate::conformance::wire::endpoint_address::EndpointAddress;
use crate::conformance::wire::head::ResponseHead;

/// A call.
#[derive(Debug, Clone)]
pub struct ManagementRequest {
    /// `POST`, `GET`, `DELETE`, or anything else.
    pub method: String,
    /// The path, as sent.
    pub path: String,
    /// Further header fields.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// How it was answered.
#[derive(Debug, Clone)]
pub struct ManagementReply {
    /// Status and header fields.
    pub head: ResponseHead,
    /// The body.
    pub body: Bytes,
}

impl ManagementRequest {
    /// A call of `method` for the connection `id`, at the stage of `place`.
    #[must_use]
    pub fn new(method: &str, place: &EndpointAddress, id: &str) -> Self {
        let stage = if place.stage.is_empty() { String::new() } else { place.path() };
        let path = format!("{stage}/@connections/{}", escape(id));
        Self { method: method.to_owned(), path, headers: Vec::new(), body: Vec::new() }
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl ManagementReply {
    /// Status and `x-amzn-ErrorType`, which together decide what an SDK raises.
    #[must_use]
    pub fn error(&self) -> (u16, Option<&str>) {
        (self.head.status, self.head.header("x-amzn-errortype"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Makes a call on a connection of its own.
///
/// # Errors
/// The endpoint gives no answer.
pub async fn call(
    place: &EndpointAddress,
    call: &ManagementRequest,
    patience: Duration,
) -> anyhow::Result<ManagementReply> {
    let mut wire = WireConnection::open(place, patience).await?;
    let mut request = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", call.method, call.path, place.authority);
    for (name, value) in &call.headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", call.body.len()));
    // A server may answer, and stop to read, before it has all of a body that is too large.
    let _ = wire.send(&[request.as_bytes(), &call.body].concat()).await;
    let head = wire.head().await?;
    let body = wire.body(&head).await?;
    Ok(ManagementReply { head, body })
}
