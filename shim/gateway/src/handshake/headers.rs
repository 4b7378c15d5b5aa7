//! Headers of a handshake in events (HDR-1 to HDR-9).
//!
//! Headers are sorted by name, ignoring case, with all values of a name in their order. The HTTP parser returns names
//! in lower case, so well-known names get their conventional case and all others stay in lower case (HDR-4).

use std::fmt;

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, GetAll, HOST, HeaderName, HeaderValue, UPGRADE};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::HandshakeRequest;

static X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_RESTAPI: HeaderName = HeaderName::from_static("x-restapi");

/// Lower-case and conventional form of names that clients and API Gateway write in mixed case; sorted for binary
/// search.
const CONVENTIONAL_CASE: [(&str, &str); 38] = [
    ("accept", "Accept"),
    ("accept-charset", "Accept-Charset"),
    ("accept-encoding", "Accept-Encoding"),
    ("accept-language", "Accept-Language"),
    ("authorization", "Authorization"),
    ("cache-control", "Cache-Control"),
    ("cloudfront-forwarded-proto", "CloudFront-Forwarded-Proto"),
    ("cloudfront-is-desktop-viewer", "CloudFront-Is-Desktop-Viewer"),
    ("cloudfront-is-mobile-viewer", "CloudFront-Is-Mobile-Viewer"),
    ("cloudfront-is-smarttv-viewer", "CloudFront-Is-SmartTV-Viewer"),
    ("cloudfront-is-tablet-viewer", "CloudFront-Is-Tablet-Viewer"),
    ("cloudfront-viewer-country", "CloudFront-Viewer-Country"),
    ("connection", "Connection"),
    ("content-type", "Content-Type"),
    ("cookie", "Cookie"),
    ("dnt", "DNT"),
    ("host", "Host"),
    ("origin", "Origin"),
    ("pragma", "Pragma"),
    ("referer", "Referer"),
    ("sec-fetch-dest", "Sec-Fetch-Dest"),
    ("sec-fetch-mode", "Sec-Fetch-Mode"),
    ("sec-fetch-site", "Sec-Fetch-Site"),
    ("sec-fetch-user", "Sec-Fetch-User"),
    ("sec-gpc", "Sec-GPC"),
    ("sec-websocket-extensions", "Sec-WebSocket-Extensions"),
    ("sec-websocket-key", "Sec-WebSocket-Key"),
    ("sec-websocket-protocol", "Sec-WebSocket-Protocol"),
    ("sec-websocket-version", "Sec-WebSocket-Version"),
    ("te", "TE"),
    ("upgrade", "Upgrade"),
    ("user-agent", "User-Agent"),
    ("via", "Via"),
    ("x-amz-cf-id", "X-Amz-Cf-Id"),
    ("x-amzn-trace-id", "X-Amzn-Trace-Id"),
    ("x-forwarded-for", "X-Forwarded-For"),
    ("x-forwarded-port", "X-Forwarded-Port"),
    ("x-forwarded-proto", "X-Forwarded-Proto"),
];

/// Headers with the order, case and multiplicity of events. `Debug` shows no values.
#[derive(Clone, PartialEq)]
pub struct EventHeaders {
    headers: HeaderMap,
    /// Whether all names stay in lower case.
    is_lower_case: bool,
}

impl EventHeaders {
    /// Returns the headers of the authorizer's request: all, with API Gateway's values of `Connection`, `Upgrade` and
    /// `content-length` (HDR-2).
    #[must_use]
    pub fn for_authorizer(request: &HandshakeRequest) -> Self {
        let mut headers = Self { headers: request.headers.clone(), is_lower_case: request.lower_case_headers };
        for (name, value) in [
            (CONNECTION, "upgrade"),
            (UPGRADE, "websocket"),
            (CONTENT_LENGTH, "0"),
            (X_FORWARDED_PORT.clone(), "443"),
            (X_FORWARDED_PROTO.clone(), "https"),
        ] {
            headers.headers.insert(name, HeaderValue::from_static(value));
        }
        headers.set_or_remove(HOST, &request.domain_name);
        headers.set_or_remove(X_FORWARDED_FOR.clone(), request.forwarded_for.as_deref().unwrap_or(&request.source_ip));
        if !headers.headers.contains_key(&X_AMZN_TRACE_ID) {
            headers.set_or_remove(X_AMZN_TRACE_ID.clone(), &request.trace_id);
        }
        headers
    }

    /// Returns the headers of the CONNECT event: without `Connection`, `Upgrade` and `content-length` (HDR-2).
    #[must_use]
    pub fn into_connect(mut self) -> Self {
        for name in [CONNECTION, UPGRADE, CONTENT_LENGTH] {
            self.headers.remove(name);
        }
        self
    }

    /// Returns the four headers of a DISCONNECT event (HDR-8).
    #[must_use]
    pub fn for_disconnect(domain_name: &str) -> Self {
        let mut headers = Self { headers: HeaderMap::with_capacity(4), is_lower_case: false };
        headers.set_or_remove(HOST, domain_name);
        for name in [&X_API_KEY, &X_FORWARDED_FOR, &X_RESTAPI] {
            headers.headers.insert(name, HeaderValue::from_static(""));
        }
        headers
    }

    /// Returns the last value of `name`, which is the one in the single-valued map (HDR-6).
    #[must_use]
    pub fn last_value(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get_all(name).into_iter().next_back()
    }

    /// Returns the single-valued and the multi-valued map for `aws_lambda_events`. They are equal when no name repeats,
    /// which is nearly always.
    #[must_use]
    pub fn to_header_maps(&self) -> (HeaderMap, HeaderMap) {
        let multi = &self.headers;
        if multi.keys_len() == multi.len() {
            return (multi.clone(), multi.clone());
        }
        let mut single = HeaderMap::with_capacity(multi.keys_len());
        for (name, value) in multi {
            single.insert(name, value.clone());
        }
        (single, multi.clone())
    }

    /// Sets a header, or removes it when `value` is not a valid header value (for example a host from a URI).
    fn set_or_remove(&mut self, name: HeaderName, value: &str) {
        match HeaderValue::from_str(value) {
            Ok(value) => drop(self.headers.insert(name, value)),
            Err(_) => drop(self.headers.remove(name)),
        }
    }

    /// Returns `name` in the case of events.
    fn event_case<'n>(&self, name: &'n HeaderName) -> &'n str {
        if self.is_lower_case { name.as_str() } else { conventional_name(name) }
    }

    /// Returns the names in the order of events.
    fn sorted_names(&self) -> Vec<&HeaderName> {
        let mut names: Vec<&HeaderName> = self.headers.keys().collect();
        names.sort_unstable_by_key(|name| name.as_str());
        names
    }
}

/// Returns the conventional case of a well-known name; all other names stay in lower case (HDR-4).
#[must_use]
pub fn conventional_name(name: &HeaderName) -> &str {
    let lower = name.as_str();
    CONVENTIONAL_CASE.binary_search_by_key(&lower, |(known, _)| known).map_or(lower, |index| CONVENTIONAL_CASE[index].1)
}

/// `headers` in JSON: the last value of each name.
pub(crate) struct SingleValueHeaders<'h>(pub &'h EventHeaders);

/// `multiValueHeaders` in JSON: all values of each name.
pub(crate) struct MultiValueHeaders<'h>(pub &'h EventHeaders);

struct HeaderText<'v>(&'v HeaderValue);

struct HeaderValues<'v>(GetAll<'v, HeaderValue>);

impl Serialize for SingleValueHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.sorted_names() {
            if let Some(value) = self.0.last_value(name) {
                map.serialize_entry(self.0.event_case(name), &HeaderText(value))?;
            }
        }
        map.end()
    }
}

impl Serialize for MultiValueHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.0.sorted_names() {
            map.serialize_entry(self.0.event_case(name), &HeaderValues(self.0.headers.get_all(name)))?;
        }
        map.end()
    }
}

impl Serialize for HeaderValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for value in &self.0 {
            list.serialize_element(&HeaderText(value))?;
        }
        list.end()
    }
}

impl Serialize for HeaderText<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Debug for EventHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.headers.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_4_the_table_is_sorted_and_differs_in_case_only() {
        assert!(CONVENTIONAL_CASE.is_sorted());
        assert!(CONVENTIONAL_CASE.iter().all(|(lower, mixed)| *lower == mixed.to_ascii_lowercase()));
    }
}
