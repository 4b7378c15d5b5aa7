//! The upgrade request: what events show of it, and how it is answered.
//!
//! Invariant: the verdict comes before the upgrade. Every outcome is either a `101` with at most a subprotocol, or a
//! plain HTTP response; no WebSocket close frame is involved (CON-1, CON-12). Parsing the request is left to the
//! server.

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
pub use headers::EventHeaders;
pub(crate) use headers::{MultiValueHeaders as MultiHeaders, SingleValueHeaders as SingleHeaders};
pub use query::QueryParameters;
pub(crate) use query::{MultiValueQuery as MultiQuery, SingleValueQuery as SingleQuery};
pub use rejection::Rejection;

use crate::identity::{ApiKey, RequestIdentity};
use crate::reply::{IntegrationError, IntegrationReply};

/// An upgrade request as the server received it. `Debug` shows no values, because they hold addresses and tokens.
#[derive(Clone)]
pub struct HandshakeRequest {
    /// The headers as received; names in lower case are given their conventional case in events (HDR-4).
    pub headers: HeaderMap,
    /// The query as received, without `?`.
    pub query: Option<String>,
    /// The client (`identity.sourceIp`): the TCP peer, or what a trusted proxy says it is.
    pub source_ip: Box<str>,
    /// The host the client used, without port (`requestContext.domainName`, EV-16).
    pub domain_name: Arc<str>,
    /// `X-Forwarded-For` as events show it (HDR-9): a list when trusted proxies are in front, `None` for `source_ip`
    /// alone. What the client itself sent under that name is never shown.
    pub forwarded_for: Option<String>,
    /// The value of `X-Amzn-Trace-Id` for requests that bring none; see [`trace_id`].
    pub trace_id: String,
    /// The API key that was recognised, if the API asks for one (IDN-3).
    pub api_key: Option<ApiKey>,
}

/// How the handshake ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectOutcome {
    /// `101`, with this `Sec-WebSocket-Protocol` if the handler returned one; nothing else of its reply is sent
    /// (CON-10).
    Accepted {
        /// The subprotocol as the handler returned it; not compared with the offer (SUB-5).
        subprotocol: Option<HeaderValue>,
    },
    /// A plain HTTP response.
    Rejected(Rejection),
}

/// A trace id `Root=1-<8 hex: seconds>-<24 hex>` (HDR-1).
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

/// The host part of a `Host` header or URI authority: without port, as `domainName` shows it (EV-16).
#[must_use]
pub fn domain_of(host: &str) -> &str {
    // An IPv6 literal keeps its brackets; only a colon behind them begins a port.
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

/// What the result of the `$connect` integration means for the handshake.
#[must_use]
pub fn connect_outcome(result: Result<IntegrationReply, IntegrationError>) -> ConnectOutcome {
    match result {
        Ok(reply) if (200..300).contains(&reply.status) => {
            ConnectOutcome::Accepted { subprotocol: reply.chosen_subprotocol() }
        }
        Ok(reply) => ConnectOutcome::Rejected(Rejection::Handler(reply.status)),
        Err(failure) => ConnectOutcome::Rejected(Rejection::Integration(failure)),
    }
}

impl HandshakeRequest {
    /// The identity that events of this connection show (IDN-1, IDN-3), without the caller of a signature.
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

    /// The query parameters that events of this request show.
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
