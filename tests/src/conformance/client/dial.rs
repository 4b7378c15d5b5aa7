//! The request of a handshake, variation by variation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::conformance::wire::endpoint_address::EndpointAddress;

/// A handshake's request. By default it is the least that RFC 6455 asks for, to the stage's own path.
#[derive(Debug, Clone, Default)]
pub struct HandshakeBuilder {
    path: Option<String>,
    host: Option<String>,
    query: Vec<String>,
    directive: Option<Value>,
    headers: Vec<(String, String)>,
    plain: bool,
    early: Vec<u8>,
}

impl HandshakeBuilder {
    /// The plain handshake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another path than the stage's.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Another `Host` than the endpoint's.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// A part of the query, as it goes over the wire.
    #[must_use]
    pub fn query(mut self, part: &str) -> Self {
        self.query.push(part.to_owned());
        self
    }

    /// A header field, after those that the protocol needs.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the probes are to do with this connection, sent as `?probe=`.
    #[must_use]
    pub fn probe(mut self, directive: Value) -> Self {
        self.directive = Some(directive);
        self
    }

    /// An ordinary HTTP request in place of an upgrade.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Bytes to send together with the request, before any answer.
    #[must_use]
    pub fn followed_by(mut self, bytes: Vec<u8>) -> Self {
        self.early = bytes;
        self
    }

    /// Adds the id of the connection that the probes post their events to.
    #[must_use]
    pub(crate) fn observed_by(mut self, connection_id: &str) -> Self {
        let directive = self.directive.get_or_insert_with(|| json!({}));
        directive["observer"] = connection_id.into();
        self
    }

    /// The whole request.
    #[must_use]
    pub fn request(&self, place: &EndpointAddress) -> Vec<u8> {
        let mut target = self.path.clone().unwrap_or_else(|| place.path());
        let directive = self.directive.iter().map(|directive| format!("probe={}", escape(&directive.to_string())));
        for (position, part) in self.query.iter().cloned().chain(directive).enumerate() {
            target.push(if position == 0 { '?' } else { '&' });
            target.push_str(&part);
        }
        let host = self.host.as_deref().unwrap_or(&place.authority);
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
        if !self.plain {
            // A nonce need not be random where no cache stands between (RFC 6455 section 1.3).
            let key = STANDARD.encode(b"conformance-case");
            request.push_str("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
            request.push_str(&format!("Sec-WebSocket-Key: {key}\r\n"));
        }
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        [request.as_bytes(), &self.early].concat()
    }
}

/// Percent-encodes all but what RFC 3986 leaves unreserved.
#[must_use]
pub fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
