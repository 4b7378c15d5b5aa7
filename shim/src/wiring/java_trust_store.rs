//! Trust store in the format JKS, which every Java runtime reads without further libraries.
//!
//! The format: a header, one record per certificate, and a digest over a password and everything before it
//! (`sun.security.provider.JavaKeyStore`). It has no secret part; the password is Java's default.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// Password of Java's own trust store, and of this one.
const PASSWORD: &str = "changeit";
const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
/// Tag of a record with a trusted certificate.
const TRUSTED_CERTIFICATE: u32 = 2;
/// Constant that is part of the digest.
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// Returns a trust store with these certificates (DER), added at `now_ms` after 1970.
pub(super) fn java_trust_store<'c>(certificates: impl ExactSizeIterator<Item = &'c [u8]>, now_ms: u64) -> Vec<u8> {
    let mut store = Vec::new();
    push_number(&mut store, MAGIC);
    push_number(&mut store, VERSION);
    push_number(&mut store, length(certificates.len()));
    for (index, certificate) in certificates.enumerate() {
        push_number(&mut store, TRUSTED_CERTIFICATE);
        push_text(&mut store, &format!("certificate-{index}"));
        store.extend(now_ms.to_be_bytes());
        push_text(&mut store, "X.509");
        push_number(&mut store, length(certificate.len()));
        store.extend(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    digest.update(&password);
    digest.update(WHITENER);
    digest.update(&store);
    store.extend(digest.finish().as_ref());
    store
}

fn push_number(store: &mut Vec<u8>, number: u32) {
    store.extend(number.to_be_bytes());
}

/// Appends an ASCII text of at most 65,535 bytes.
fn push_text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend(text.as_bytes());
}

/// Returns a length; certificates are far smaller than 4 GiB.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
