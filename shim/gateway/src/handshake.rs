//! Upgrade request: its representation in events and its outcome.
//!
//! The outcome is decided before the upgrade. It is either a `101` with at most a subprotocol, or a plain HTTP
//! response, never a WebSocket close frame (CON-1, CON-12). The server parses the request.

mod compression;
mod headers;
mod query;
mod rejection;

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use http::HeaderMap;
use http::header::{HeaderValue, USER_AGENT};

pub use compression::{CompressionMode, DeflateAgreement, negotiate_deflate};
pub use headers::{EventHeaders, conventional_name};
pub(crate) use headers::{MultiValueHeaders as MultiHeaders, SingleValueHeaders as SingleHeaders};
pub use query::QueryParameters;
pub(crate) use query::{MultiValueQuery as MultiQuery, SingleValueQuery as SingleQuery};
pub use rejection::Rejection;

use crate::identity::{ApiKey, RequestIdentity};
use crate::reply::{IntegrationError, IntegrationReply};

/// An upgrade request as received. `Debug` shows no values, because they contain addresses and tokens.
#[derive(Clone)]
pub struct HandshakeRequest {
    /// Headers as received; events show lower-case names in their conventional case (HDR-4).
    pub headers: HeaderMap,
    /// Query as received, without `?`.
    pub query: Option<String>,
    /// Client address (`identity.sourceIp`): the TCP peer, or the address that a trusted proxy reports.
    pub source_ip: Box<str>,
    /// Host of the request without port (`requestContext.domainName`, EV-16).
    pub domain_name: Arc<str>,
    /// `X-Forwarded-For` of events (HDR-9): a list from trusted proxies, or `None` for `source_ip` alone. Events never
    /// contain the client's own value.
    pub forwarded_for: Option<String>,
    /// `X-Amzn-Trace-Id` of requests that have none; see [`trace_id`].
    pub trace_id: String,
    /// Whether the names of all headers are in lower case in events, as under a base path with several levels.
    pub lower_case_headers: bool,
    /// The client's API key, if the API requires one (IDN-3).
    pub api_key: Option<ApiKey>,
}

/// Outcome of the `$connect` integration for the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// `101`, with the handler's `Sec-WebSocket-Protocol` if it returned one. Nothing else of its reply is sent
    /// (CON-10).
    Accepted {
        /// Subprotocol as the handler returned it; not compared with the offer (SUB-5).
        subprotocol: Option<HeaderValue>,
    },
    /// A plain HTTP response.
    Rejected(Rejection),
}

/// Returns a trace id `Root=1-<8 hex: seconds>-<24 hex>` (HDR-1).
#[must_use]
pub fn trace_id(epoch_ms: i64, entropy: [u8; 12]) -> String {
    let seconds = (epoch_ms.div_euclid(1000) & 0xFFFF_FFFF) as u32;
    let mut id = String::with_capacity("Root=1-".len() + 8 + "-".len() + 24);
    id.push_str("Root=1-");
    HEXLOWER.encode_append(&seconds.to_be_bytes(), &mut id);
    id.push('-');
    HEXLOWER.encode_append(&entropy, &mut id);
    id
}

/// Returns the host part of a `Host` header or URI authority without port, as in `domainName` (EV-16).
#[must_use]
pub fn domain_of(host: &str) -> &str {
    // An IPv6 literal keeps its brackets; a port can only follow them.
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// Returns the outcome of the handshake for the result of the `$connect` integration.
#[must_use]
pub fn connect_outcome(result: Result<IntegrationReply, IntegrationError>) -> ConnectOutcome {
    match result {
        Ok(reply) if (200..300).contains(&reply.status) => {
            ConnectOutcome::Accepted { subprotocol: reply.chosen_subprotocol() }
        }
        Ok(reply) => ConnectOutcome::Rejected(Rejection::Handler(reply.status)),
        Err(error) => ConnectOutcome::Rejected(Rejection::Integration(error)),
    }
}

impl HandshakeRequest {
    /// Returns `requestContext.identity` of this connection's events (IDN-1, IDN-3), without the signing caller.
    #[must_use]
    pub fn request_identity(&self) -> RequestIdentity {
        let user_agent = self.headers.get(USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()).into());
        RequestIdentity {
            iam: None,
            source_ip: self.source_ip.clone(),
            user_agent,
            api_key: self.api_key.clone().map(Box::new),
        }
    }

    /// Returns the query parameters of this request's events.
    #[must_use]
    pub fn query_parameters(&self) -> QueryParameters {
        QueryParameters::parse(self.query.as_deref().unwrap_or_default())
    }
}

impl fmt::Debug for HandshakeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeRequest").field("headers", &self.headers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
