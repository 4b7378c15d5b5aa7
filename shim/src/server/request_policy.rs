//! Checks of every HTTP request before its route: syntax that hyper does not check, `Host`, `Origin`, and the address
//! of the client.
//!
//! ```text
//! Host missing, repeated or invalid; repeated single-valued header; target without a path → 400, connection closed
//! Absolute target with another scheme than http and https; HTTP/1.0 for local callers     → 400, connection closed
//! Transfer coding other than chunked                                                     → 501, connection closed
//! Host not allowed, Origin not allowed                                                   → 403
//! ```
//! hyper rejects obsolete line folding, bare CR, differing `Content-Length`s and a last transfer coding other than chunked
//! itself. Where both `Content-Length` and `Transfer-Encoding` are present, it uses the latter and closes the connection (RFC 9112
//! section 6.3). A bare LF ends a line, as section 2.2 permits.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING,
};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};
use warp::reply::{Reply as _, Response};

use crate::access::client_address::{ClientAddress, ProxyConfig};
use crate::access::host_name::HostPort;
use crate::access::origin::{HostPattern, HostRule, OriginRule};
use crate::config::ServerConfig;

/// Headers that a request may contain once. RFC 9110 and RFC 6455 define no meaning of several.
const SINGLE_HEADERS: [HeaderName; 7] =
    [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION];

/// Checks of a listener's requests.
#[derive(Debug, Clone)]
pub struct RequestPolicy {
    /// Proxies in front of the listener.
    pub proxies: ProxyConfig,
    hosts: HostRule,
    origins: OriginRule,
    /// Whether HTTP/1.0 is accepted.
    admits_http10: bool,
}

/// Reason for which a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum RequestPolicyError {
    /// The request violates HTTP.
    #[error("Bad Request: {0}")]
    Malformed(&'static str),
    /// The body has a transfer coding in addition to chunked, or chunked twice.
    #[error("Not Implemented: the only supported transfer coding is chunked")]
    UnknownCoding,
    /// `Host` is not allowed.
    #[error("Forbidden: the Host of the request is not allowed here; add it to server.hosts")]
    ForeignHost,
    /// `Origin` is not allowed.
    #[error("Forbidden: the Origin of the request is not allowed here; add it to server.origins")]
    ForeignOrigin,
}

impl RequestPolicy {
    /// Returns the checks of the traffic port.
    #[must_use]
    pub fn for_traffic(config: &ServerConfig) -> Self {
        let is_local = is_loopback(config.listen) && !config.proxies.is_used();
        let mut hosts = config.hosts.clone().unwrap_or_else(|| default_host_rule(config, is_local));
        // Function processes use this address.
        if let HostRule::LoopbackAnd(names) = &mut hosts {
            names.push(HostPattern::Exact(config.listen.ip().to_string().into()));
        }
        let origins = origin_rule(config, is_local);
        Self { proxies: config.proxies.clone(), hosts, origins, admits_http10: true }
    }

    /// Returns the checks of the ops port, which has no proxies in front of it. `server.hosts` has no effect there,
    /// because probes and scrapers use the address of the pod.
    #[must_use]
    pub fn for_ops(config: &ServerConfig) -> Self {
        let is_local = is_loopback(config.ops_listen);
        let hosts = default_host_rule(config, is_local);
        Self { proxies: ProxyConfig::NONE, hosts, origins: origin_rule(config, is_local), admits_http10: true }
    }

    /// Returns the checks of a listener whose routes check `Host` and `Origin` themselves.
    #[must_use]
    pub const fn syntax_only() -> Self {
        Self { proxies: ProxyConfig::NONE, hosts: HostRule::Any, origins: OriginRule::Any, admits_http10: true }
    }

    /// Returns the checks of the listener for local callers: [`Self::syntax_only`], and no HTTP/1.0, with which proxies
    /// such as nginx connect by default.
    #[must_use]
    pub const fn for_local_callers() -> Self {
        Self { proxies: ProxyConfig::NONE, hosts: HostRule::Any, origins: OriginRule::Any, admits_http10: false }
    }

    /// Checks a request that arrived from `peer` and stores the address of its client in its extensions. The `Host` of
    /// a request with an absolute target is replaced by the target's (RFC 9112 section 3.2.2).
    ///
    /// # Errors
    /// The response to a rejected request.
    pub fn admit<B>(&self, request: &mut Request<B>, peer: IpAddr) -> Result<(), Response> {
        self.check(request).map_err(RequestPolicyError::into_response)?;
        let client = self.proxies.client_of(peer, request.headers());
        request.extensions_mut().insert::<ClientAddress>(client);
        Ok(())
    }

    fn check<B>(&self, request: &mut Request<B>) -> Result<(), RequestPolicyError> {
        let repeated = SINGLE_HEADERS.iter().any(|name| request.headers().get_all(name).iter().nth(1).is_some());
        if repeated {
            return Err(RequestPolicyError::Malformed("a header that must not be repeated is repeated"));
        }
        if request.uri().path_and_query().is_none() {
            // The form of CONNECT (RFC 9112 section 3.2.3), with any method.
            return Err(RequestPolicyError::Malformed("the target of the request is not a path"));
        }
        if request.uri().scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
            return Err(RequestPolicyError::Malformed("the scheme of the request's target is not http"));
        }
        if !self.admits_http10 && request.version() == Version::HTTP_10 {
            return Err(RequestPolicyError::Malformed("HTTP/1.1 is required"));
        }
        if !has_known_coding(request.headers()) {
            return Err(RequestPolicyError::UnknownCoding);
        }
        let host = requested_host(request)?;
        if !self.hosts.admits(host.as_ref()) {
            return Err(RequestPolicyError::ForeignHost);
        }
        match request.headers().get(ORIGIN) {
            Some(origin) if !self.origins.admits(origin.as_bytes(), host.as_ref()) => {
                Err(RequestPolicyError::ForeignOrigin)
            }
            _ => Ok(()),
        }
    }
}

/// Returns whether the only transfer coding of a request is chunked, once (RFC 9112 sections 6.1 and 7.1).
fn has_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Returns the host that a request names. Without `Host` only HTTP/1.0 is valid (RFC 9112 section 3.2).
fn requested_host<B>(request: &mut Request<B>) -> Result<Option<HostPort>, RequestPolicyError> {
    let malformed = || RequestPolicyError::Malformed("the Host header is missing or invalid");
    let host = match request.headers().get(HOST) {
        Some(host) => Some(HostPort::parse(host.as_bytes()).ok_or_else(malformed)?),
        None if request.version() == Version::HTTP_10 => None,
        None => return Err(malformed()),
    };
    let Some(authority) = request.uri().authority() else { return Ok(host) };
    let target = HostPort::parse(authority.as_str().as_bytes()).ok_or_else(malformed)?;
    let value = HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?;
    request.headers_mut().insert(HOST, value);
    Ok(Some(target))
}

impl RequestPolicyError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::ForeignHost | Self::ForeignOrigin => StatusCode::FORBIDDEN,
        };
        let body = serde_json::json!({"message": self.to_string()}).to_string();
        let mut response = warp::reply::with_status(body, status).into_response();
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The next request cannot be located reliably after a malformed one (request smuggling), so the connection is
        // closed.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Returns the rule of a listener without configured host names.
fn default_host_rule(config: &ServerConfig, is_local: bool) -> HostRule {
    if !is_local {
        return HostRule::Any;
    }
    HostRule::LoopbackAnd(config.domain_name.iter().filter_map(|name| name.parse().ok()).collect())
}

fn origin_rule(config: &ServerConfig, is_local: bool) -> OriginRule {
    let default = if is_local { OriginRule::Loopback } else { OriginRule::Any };
    config.origins.clone().unwrap_or(default)
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
