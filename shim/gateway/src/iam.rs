//! Requests signed with Signature Version 4: parsing of the signature and construction of the string to sign (IAM-1,
//! SG-1 to SG-3; IAM user guide, `reference_sigv-create-signed-request`).
//!
//! ```text
//! request ─ SignatureClaim::from_request ─ check_scope, check_time ─ canonical_request ─ hash ─ string_to_sign ─ HMAC
//! ```
//! A claim is untrusted until the server has compared its signature. The path is encoded a second time. The hash of the
//! payload is an argument, because the client's `x-amz-content-sha256` is not trusted. The server has the secret keys
//! and computes the hashes.

mod canonical;
mod claim;
mod error;
mod policy;

pub use claim::SignatureClaim;
pub use error::SignatureError;
pub use policy::{IamAction, IamPolicy};

use http::HeaderMap;

/// The only supported algorithm: symmetric keys and SHA-256.
pub const SIGNING_ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that requests must be signed for (SG-1).
pub const SIGNING_SERVICE: &str = "execute-api";
/// Last component of every credential scope.
pub const SCOPE_TERMINATOR: &str = "aws4_request";

/// The parts of a request that a signature covers, as received.
#[derive(Clone, Copy)]
pub struct SignedRequest<'r> {
    /// HTTP method in upper case.
    pub method: &'r str,
    /// Path, percent-encoded as sent.
    pub path: &'r str,
    /// Query as sent, without `?`.
    pub query: Option<&'r str>,
    /// All headers; the signature names those that it covers.
    pub headers: &'r HeaderMap,
}

#[cfg(test)]
mod tests;
