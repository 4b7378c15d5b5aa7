//! The HTTP part of a handshake: checks of the upgrade request (RFC 6455 section 4.2), and the headers of the response.

use gateway::handshake::{DeflateAgreement, Rejection};
use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY};
use http::header::{SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::reply::{Reply as _, Response};

use super::{HandshakeContext, UpgradeRequest};
use crate::server::list_contains;

/// The only supported version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// Checks the URL length, the path and the upgrade headers. Returns the future socket and `Sec-WebSocket-Accept`.
pub(super) fn check_request(
    context: &HandshakeContext,
    request: &UpgradeRequest,
) -> Result<(OnUpgrade, HeaderValue), Rejection> {
    let api = &context.sessions.integration.api;
    let url_chars = request.path.len() + request.query.as_ref().map_or(0, |query| query.len() + 1);
    if url_chars > api.quotas.url_chars {
        return Err(Rejection::UrlTooLong);
    }
    if api.match_path(&request.path).is_none() {
        return Err(Rejection::UnknownStage);
    }
    let upgrade = request.upgrade.clone().ok_or(Rejection::NotAnUpgrade)?;
    accept_value(&request.headers).map(|accept| (upgrade, accept)).ok_or(Rejection::BadUpgrade)
}

/// Returns `Sec-WebSocket-Accept` when the request complies with RFC 6455 section 4.2.1: `Upgrade` in `Connection`,
/// version 13 and a key of 16 bytes. The request must have no body, whose bytes would be read as frames.
fn accept_value(headers: &HeaderMap) -> Option<HeaderValue> {
    if !headers.get_all(CONNECTION).iter().any(|options| list_contains(options, "upgrade")) {
        return None;
    }
    let has_body =
        headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let key = headers.get(SEC_WEBSOCKET_KEY)?.as_bytes();
    let version = headers.get(SEC_WEBSOCKET_VERSION)?.as_bytes();
    if has_body || !encodes_sixteen_bytes(key) || version != VERSION.as_bytes() {
        return None;
    }
    HeaderValue::from_str(&derive_accept_key(key)).ok()
}

/// Returns whether `key` is 16 bytes in base64. The unused bits of the last character are not checked.
fn encodes_sixteen_bytes(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(is_base64) && key.ends_with(b"==")
}

/// Adds what a client needs to correct its request: `Upgrade` for 426 (RFC 9110 section 15.5.22) and the supported
/// version of the protocol (RFC 6455 section 4.4).
pub(super) fn add_upgrade_headers(response: &mut Response, rejection: Rejection) {
    let headers = response.headers_mut();
    if matches!(rejection, Rejection::NotAnUpgrade | Rejection::BadUpgrade) {
        headers.insert(SEC_WEBSOCKET_VERSION, VERSION);
    }
    if rejection == Rejection::NotAnUpgrade {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Returns the `101` of an accepted handshake.
pub(super) fn switching_protocols(
    accept: &HeaderValue,
    subprotocol: Option<HeaderValue>,
    deflate: Option<&DeflateAgreement>,
) -> Response {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    if let Some(subprotocol) = subprotocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    if let Some(deflate) = deflate {
        headers.insert(SEC_WEBSOCKET_EXTENSIONS, deflate.response_header());
    }
    response
}
