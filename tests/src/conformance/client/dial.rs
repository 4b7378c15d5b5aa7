//! Builder of handshake requests, valid or not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::conformance::wire::endpoint_address::EndpointAddress;

/// Handshake request. By default it is the minimum that RFC 6455 requires, to the path of the stage.
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
    /// Returns the minimal handshake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a path other than the stage's.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// Sets a `Host` other than the endpoint's.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Adds a part of the query, already percent-encoded.
    #[must_use]
    pub fn query(mut self, part: &str) -> Self {
        self.query.push(part.to_owned());
        self
    }

    /// Adds a header field after the required ones.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the directive for the probes, sent as `?probe=`.
    #[must_use]
    pub fn probe(mut self, directive: Value) -> Self {
        self.directive = Some(directive);
        self
    }

    /// Makes the request an ordinary HTTP request without an upgrade.
    #[must_use]
    pub const fn plain(mut self) -> Self {
        self.plain = true;
        self
    }

    /// Sets bytes that are sent together with the request, before the response.
    #[must_use]
    pub fn followed_by(mut self, bytes: Vec<u8>) -> Self {
        self.early = bytes;
        self
    }

    /// Adds the id of the connection to which the probes post their events.
    #[must_use]
    pub(crate) fn observed_by(mut self, connection_id: &str) -> Self {
        let directive = self.directive.get_or_insert_with(|| json!({}));
        directive["observer"] = connection_id.into();
        self
    }

    /// Returns the complete request.
    #[must_use]
    pub fn request(&self, endpoint: &EndpointAddress) -> Vec<u8> {
        let mut target = self.path.clone().unwrap_or_else(|| endpoint.path());
        let directive = self.directive.iter().map(|directive| format!("probe={}", escape(&directive.to_string())));
        for (position, part) in self.query.iter().cloned().chain(directive).enumerate() {
            target.push(if position == 0 { '?' } else { '&' });
            target.push_str(&part);
        }
        let host = self.host.as_deref().unwrap_or(&endpoint.authority);
        let mut request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n");
        if !self.plain {
            // A constant nonce suffices without caches in between (RFC 6455 section 1.3).
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

/// Percent-encodes all characters except the unreserved ones of RFC 3986.
#[must_use]
pub fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
