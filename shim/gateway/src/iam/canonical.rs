//! What a signature covers, in the one form that both sides write it in.
//!
//! Invariant: everything is taken from the request as received; a header that is signed and missing is an empty line,
//! which no honest signature has. Dot segments are left as they are: no path with one leads anywhere here.

use std::fmt::Write as _;

use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::claim::SignatureClaim;
use super::{SIGNING_ALGORITHM, SignedRequest};

/// All but what RFC 3986 leaves unreserved.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a path, whose segments stay apart.
const ESCAPED_IN_PATH: AsciiSet = ESCAPED.remove(b'/');

impl SignatureClaim {
    /// The canonical request; `payload_hash` is the SHA-256 of the body in lower-case hexadecimal digits.
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

    /// The string that is signed; `canonical_hash` is the SHA-256 of the canonical request, likewise.
    #[must_use]
    pub fn string_to_sign(&self, canonical_hash: &str) -> String {
        [SIGNING_ALGORITHM, &self.date, &self.credential_scope(), canonical_hash].join("\n")
    }
}

/// The path, encoded once more than it was sent (SG-2).
fn canonical_path(sent: &str) -> String {
    match sent {
        "" => "/".to_owned(),
        sent => utf8_percent_encode(sent, &ESCAPED_IN_PATH).to_string(),
    }
}

/// The parameters without the signature itself, each encoded strictly, in order.
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

/// The values of a header with a comma between them, each trimmed and with single spaces inside.
fn canonical_header(headers: &HeaderMap, name: &str) -> String {
    let clean = |value: &http::HeaderValue| {
        let text = String::from_utf8_lossy(value.as_bytes());
        text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    headers.get_all(name).iter().map(clean).collect::<Vec<_>>().join(",")
}
