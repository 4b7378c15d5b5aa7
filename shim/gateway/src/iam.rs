//! Requests signed with Signature Version 4: who claims to have sent one, and what must have been signed (IAM-1, SG-1 to
//! SG-3; IAM user guide, `reference_sigv-create-signed-request`).
//!
//! ```text
//! request ─ Claim::read ─ check_scope, check_time ─ canonical_request ─ hash ─ string_to_sign ─ the server's HMAC
//! ```
//! Invariant: nothing of a claim is true before its signature has been compared. The path is encoded a second time, and
//! the hash of the payload is an argument: what the client says about it counts for nothing. Keys and hashes are the
//! server's.

mod canonical;
mod claim;
mod error;
mod policy;

pub use claim::SignatureClaim;
pub use error::SignatureError;
pub use policy::{IamAction, IamPolicy};

use http::HeaderMap;

/// The only algorithm: symmetric keys and SHA-256.
pub const SIGNING_ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that requests must be signed for (SG-1).
pub const SIGNING_SERVICE: &str = "execute-api";
/// What ends every credential scope.
pub const SCOPE_TERMINATOR: &str = "aws4_request";

/// The parts of a request that a signature covers, as received.
#[derive(Clone, Copy)]
pub struct SignedRequest<'r> {
    /// The method.
    pub method: &'r str,
    /// The path, percent-encoded as sent.
    pub path: &'r str,
    /// The query as sent, without `?`.
    pub query: Option<&'r str>,
    /// The headers.
    pub headers: &'r HeaderMap,
}

#[cfg(test)]
mod tests;
