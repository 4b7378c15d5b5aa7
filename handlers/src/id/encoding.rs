//! Encoding of the names that identity providers assign, such as `f:8c1d:alice`, as user ids and tenants.
//!
//! A text of the alphabet of names stays as it is. Otherwise each other byte of its UTF-8 form, and `%`, is
//! percent-encoded (RFC 3986, section 2.1), and a result that is too long is replaced by `%sha256-` and the hash of the
//! text. The encoding is injective: two texts never become the same name.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::limits::MAX_NAME_BYTES;

/// Bytes that are encoded: all that a name must not contain.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-').remove(b'@').remove(b'+').remove(b'|');
/// Prefix of a hash. It is no percent-encoding, because `s` is not a hexadecimal digit.
const HASH_PREFIX: &str = "%sha256-";

/// Returns `text` as a name of at most [`MAX_NAME_BYTES`] bytes of the alphabet of names and `%`.
pub(super) fn encode_name(text: &str) -> String {
    // Three bytes for each: a longer text need not be encoded first.
    let encoded = (text.len() <= MAX_NAME_BYTES).then(|| utf8_percent_encode(text, ENCODED).to_string());
    encoded.filter(|encoded| encoded.len() <= MAX_NAME_BYTES).unwrap_or_else(|| {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        format!("{HASH_PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(hash))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_and_every_other_text_is_encoded() {
        for (text, name) in [
            ("auth0|5f7c8ec7c33c6c004bbafe82", "auth0|5f7c8ec7c33c6c004bbafe82"),
            ("a.b+c@example.com", "a.b+c@example.com"),
            ("f:8c1d:alice", "f%3A8c1d%3Aalice"),
            ("system:serviceaccount:ns:name", "system%3Aserviceaccount%3Ans%3Aname"),
            ("f%3A8c1d%3Aalice", "f%253A8c1d%253Aalice"),
            ("Jürgen {1}/2\n", "J%C3%BCrgen%20%7B1%7D%2F2%0A"),
            ("%sha256-", "%25sha256-"),
        ] {
            assert_eq!(encode_name(text), name);
        }
    }

    #[test]
    fn a_name_that_would_be_too_long_is_hashed() {
        let (ascii, encoded) = ("x".repeat(MAX_NAME_BYTES + 1), ":".repeat(MAX_NAME_BYTES / 3 + 1));
        for text in [&ascii, &encoded] {
            let name = encode_name(text);
            assert_eq!((name.len(), name.starts_with(HASH_PREFIX)), (51, true), "{name}");
        }
        assert_ne!(encode_name(&ascii), encode_name(&format!("{ascii}x")));
        assert_eq!(encode_name(&"x".repeat(MAX_NAME_BYTES)).len(), MAX_NAME_BYTES);
        assert_eq!(encode_name(&":".repeat(MAX_NAME_BYTES / 3)).len(), MAX_NAME_BYTES / 3 * 3);
    }
}
