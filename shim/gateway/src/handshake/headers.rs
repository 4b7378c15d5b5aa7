//! The headers of a handshake as events show them (HDR-1 to HDR-9).
//!
//! Invariant: sorted by name without regard to case; every value of a name is kept, in order. The server's HTTP parser
//! gives names in lower case, so conventional ones get their usual case back and all others stay as they are (HDR-4).

use std::fmt;
use std::sync::OnceLock;

use http::HeaderMap;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, UPGRADE};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::HandshakeRequest;

static X_AMZN_TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
static X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_RESTAPI: HeaderName = HeaderName::from_static("x-restapi");

/// Names that clients and API Gateway write in mixed case, beside their lower-case form; sorted for binary search.
const MIXED_CASE: [(&str, &str); 38] = [
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

/// Headers in the order, case and multiplicity of events. `Debug` shows no values.
#[derive(Clone, PartialEq)]
pub struct EventHeaders {
    /// Sorted by name; the values of one name stand side by side in the order they came.
    entries: Vec<(HeaderName, HeaderValue)>,
    /// The multi-valued map of the public event types, once somebody needed it: `$connect` takes over the authorizer's.
    multi: OnceLock<HeaderMap>,
}

impl EventHeaders {
    /// What the authorizer sees: everything, with `Connection`, `Upgrade` and `content-length` as API Gateway writes
    /// them (HDR-2).
    #[must_use]
    pub fn for_authorizer(request: &HandshakeRequest) -> Self {
        let mut headers = Self::with_capacity(request.headers.len() + 6);
        let sent = request.headers.iter().filter(|(name, _)| !is_ours(name));
        headers.entries.extend(sent.map(|(name, value)| (name.clone(), value.clone())));
        headers.add_static(CONNECTION, "upgrade");
        headers.add_static(UPGRADE, "websocket");
        headers.add_static(CONTENT_LENGTH, "0");
        headers.add_static(X_FORWARDED_PORT.clone(), "443");
        headers.add_static(X_FORWARDED_PROTO.clone(), "https");
        headers.add(HOST, &request.domain_name);
        match &request.forwarded_for {
            Some(list) => headers.add(X_FORWARDED_FOR.clone(), list),
            None => headers.add(X_FORWARDED_FOR.clone(), &request.source_ip),
        }
        if !request.headers.contains_key(&X_AMZN_TRACE_ID) {
            headers.add(X_AMZN_TRACE_ID.clone(), &request.trace_id);
        }
        headers.sorted()
    }

    /// What the `$connect` integration sees: the same without `Connection`, `Upgrade` and `content-length` (HDR-2).
    #[must_use]
    pub fn into_connect(mut self) -> Self {
        self.entries.retain(|(name, _)| !(*name == CONNECTION || *name == UPGRADE || *name == CONTENT_LENGTH));
        if let Some(multi) = self.multi.get_mut() {
            for name in [CONNECTION, UPGRADE, CONTENT_LENGTH] {
                multi.remove(name);
            }
        }
        self
    }

    /// The four headers of a DISCONNECT event (HDR-8).
    #[must_use]
    pub fn for_disconnect(domain_name: &str) -> Self {
        let mut headers = Self::with_capacity(4);
        headers.add(HOST, domain_name);
        for name in [&X_API_KEY, &X_FORWARDED_FOR, &X_RESTAPI] {
            headers.add_static(name.clone(), "");
        }
        headers
    }

    /// The last value of `name`, which is what the single-valued map shows (HDR-6).
    #[must_use]
    pub fn last(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.entries.iter().rfind(|(entry, _)| entry == name).map(|(_, value)| value)
    }

    /// The single-valued and the multi-valued map as the public event type has them. Where no name repeats, which is
    /// nearly always, they are the same, and a copy is cheaper than a second map.
    #[must_use]
    pub fn typed(&self) -> (HeaderMap, HeaderMap) {
        let multi = self.multi.get_or_init(|| self.multi_valued());
        if multi.keys_len() == multi.len() {
            return (multi.clone(), multi.clone());
        }
        let mut single = HeaderMap::with_capacity(multi.keys_len());
        for (name, value) in &self.entries {
            single.insert(name, value.clone());
        }
        (single, multi.clone())
    }

    fn with_capacity(headers: usize) -> Self {
        Self { entries: Vec::with_capacity(headers), multi: OnceLock::new() }
    }

    fn multi_valued(&self) -> HeaderMap {
        let mut multi = HeaderMap::with_capacity(self.entries.len());
        for (name, value) in &self.entries {
            multi.append(name, value.clone());
        }
        multi
    }

    fn add_static(&mut self, name: HeaderName, value: &'static str) {
        self.entries.push((name, HeaderValue::from_static(value)));
    }

    /// Adds what may not be a header value (a host taken from a URI); then the header stays away.
    fn add(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.entries.push((name, value));
        }
    }

    fn sorted(mut self) -> Self {
        self.entries.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        self
    }

    fn groups(&self) -> impl Iterator<Item = &[(HeaderName, HeaderValue)]> {
        self.entries.chunk_by(|(a, _), (b, _)| a == b)
    }
}

/// Headers that API Gateway writes itself, whatever the client sent.
fn is_ours(name: &HeaderName) -> bool {
    [&CONNECTION, &UPGRADE, &CONTENT_LENGTH, &HOST, &X_FORWARDED_FOR, &X_FORWARDED_PORT, &X_FORWARDED_PROTO]
        .contains(&name)
}

/// `name` as events write it.
fn event_case(name: &HeaderName) -> &str {
    let lower = name.as_str();
    MIXED_CASE.binary_search_by_key(&lower, |(known, _)| known).map_or(lower, |index| MIXED_CASE[index].1)
}

/// `headers` as JSON: the last value of each name.
pub(crate) struct SingleValued<'h>(pub &'h EventHeaders);

/// `multiValueHeaders` as JSON: all values of each name.
pub(crate) struct MultiValued<'h>(pub &'h EventHeaders);

struct Text<'v>(&'v HeaderValue);

struct Values<'v>(&'v [(HeaderName, HeaderValue)]);

impl Serialize for SingleValued<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.groups().filter_map(<[_]>::last) {
            map.serialize_entry(event_case(name), &Text(value))?;
        }
        map.end()
    }
}

impl Serialize for MultiValued<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for group in self.0.groups() {
            map.serialize_entry(event_case(&group[0].0), &Values(group))?;
        }
        map.end()
    }
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for (_, value) in self.0 {
            list.serialize_element(&Text(value))?;
        }
        list.end()
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Debug for EventHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_4_the_table_is_sorted_and_differs_in_case_only() {
        assert!(MIXED_CASE.is_sorted());
        assert!(MIXED_CASE.iter().all(|(lower, mixed)| *lower == mixed.to_ascii_lowercase()));
    }
}
