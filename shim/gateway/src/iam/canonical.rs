//! Canonical request and string to sign of Signature Version 4.
//!
//! Both are built from the request as received. A signed header that is missing becomes an empty line, so the signature
//! does not match. Dot segments of the path are not resolved, because no route has any.

use std::fmt::Write as _;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::claim::SignatureClaim;
use super::{SIGNING_ALGORITHM, SignedRequest};

/// All characters except the unreserved ones of RFC 3986.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// [`ESCAPED`] without `/`, for paths.
const ESCAPED_IN_PATH: AsciiSet = ESCAPED.remove(b'/');

impl SignatureClaim {
    /// Returns the canonical request; `payload_hash` is the SHA-256 of the body in lower-case hexadecimal digits.
    #[must_use]
    pub fn canonical_request(&self, request: SignedRequest<'_>, payload_hash: &str) -> String {
        let mut text =
            format!("{}\n{}\n{}\n", request.method, canonical_path(request.path), canonical_query(request.query));
        for name in &self.signed_headers {
            let _ = writeln!(text, "{name}:{}", canonical_header(request.headers, name));
        }
        let _ = write!(text, "\n{}\n{payload_hash}", self.signed_headers.join(";"));
        text
    }

    /// Returns the string to sign; `canonical_hash` is the SHA-256 of the canonical request in lower-case hexadecimal
    /// digits.
    #[must_use]
    pub fn string_to_sign(&self, canonical_hash: &str) -> String {
        [SIGNING_ALGORITHM, &self.date, &self.credential_scope(), canonical_hash].join("\n")
    }
}

/// Returns the path as sent, encoded once more (SG-2).
fn canonical_path(sent: &str) -> String {
    match sent {
        "" => "/".to_owned(),
        sent => utf8_percent_encode(sent, &ESCAPED_IN_PATH).to_string(),
    }
}

/// Returns the sorted parameters without the signature, each encoded strictly.
fn canonical_query(sent: Option<&str>) -> String {
    let encode = |text: &str| {
        let decoded: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&decoded, &ESCAPED).to_string()
    };
    let pairs = sent.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (encode(name), encode(value))).collect();
    pairs.retain(|(name, _)| name != "X-Amz-Signature");
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Returns the values of a header joined by commas, each trimmed and with repeated spaces collapsed.
fn canonical_header(headers: &HeaderMap, name: &str) -> String {
    let clean = |value: &http::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    headers.get_all(name).iter().map(clean).collect::<Vec<_>>().join(",")
}
