//! Credentials of IAM callers and verification of their Signature Version 4; `gateway::iam` defines the signed
//! contents.
//!
//! A caller is returned only after its signature was computed from the request as received, including the body, and
//! compared in constant time. Secrets are private to this module.

mod document;
mod generated;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use data_encoding::HEXLOWER;
use gateway::event::IamCaller;
use gateway::iam::{IamPolicy, SCOPE_TERMINATOR, SIGNING_SERVICE, SignatureClaim, SignatureError, SignedRequest};

pub use self::generated::GeneratedKeys;
use crate::secret::Secret;

/// Maximum number of configured callers.
pub const MAX_CALLERS: usize = 1000;

/// A caller that signs requests. `Debug` shows no part of its keys.
#[derive(Clone)]
pub struct SigningCaller {
    /// Identity of the caller in events.
    pub identity: IamCaller,
    /// Permissions of the caller.
    pub policy: IamPolicy,
    secret: Secret,
    session_token: Option<Secret>,
}

/// All callers, by access key. `Debug` shows their number only.
#[derive(Clone, Default)]
pub struct IamCredentials(Arc<HashMap<Box<str>, SigningCaller>>);

impl IamCredentials {
    /// Returns whether no caller can sign.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies the signature of a request with this body to an API of `region`, and returns its caller. `now` is in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// [`SignatureError`] if the signature is missing, incomplete, expired or wrong, or the access key is unknown.
    pub fn verify(
        &self,
        request: SignedRequest<'_>,
        body: &[u8],
        region: &str,
        now: i64,
    ) -> Result<&SigningCaller, SignatureError> {
        let (claim, caller) = self.checked_claim(request, region, now)?;
        let canonical = claim.canonical_request(request, &sha256_hex(body));
        let expected = caller.expected_signature(&claim, &claim.string_to_sign(&sha256_hex(canonical.as_bytes())));
        verify_slices_are_equal(expected.as_bytes(), claim.signature.as_bytes())
            .map_err(|_| SignatureError::Mismatch)?;
        Ok(caller)
    }

    /// Verifies all but the signature itself, which covers the body: the access key, the scope and the time.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), except for a wrong signature.
    pub fn verify_claim(&self, request: SignedRequest<'_>, region: &str, now: i64) -> Result<(), SignatureError> {
        self.checked_claim(request, region, now).map(drop)
    }

    fn checked_claim(
        &self,
        request: SignedRequest<'_>,
        region: &str,
        now: i64,
    ) -> Result<(SignatureClaim, &SigningCaller), SignatureError> {
        let claim = SignatureClaim::from_request(request)?;
        let caller = self.0.get(&*claim.access_key).filter(|caller| caller.has_token(claim.session_token.as_deref()));
        let caller = caller.ok_or(SignatureError::UnknownKey)?;
        claim.check_scope(region)?;
        claim.check_time(now)?;
        Ok((claim, caller))
    }
}

impl SigningCaller {
    fn has_token(&self, presented: Option<&str>) -> bool {
        match (&self.session_token, presented) {
            (None, None) => true,
            (Some(token), Some(presented)) => {
                verify_slices_are_equal(token.expose().as_bytes(), presented.as_bytes()).is_ok()
            }
            _ => false,
        }
    }

    /// Computes the signature in lower-case hexadecimal digits, with the key derived for the claim's day and region
    /// (IAM user guide, `reference_sigv-create-signed-request`, step 4).
    fn expected_signature(&self, claim: &SignatureClaim, string_to_sign: &str) -> String {
        let secret = format!("AWS4{}", self.secret.expose());
        let steps = [&*claim.day, &*claim.region, SIGNING_SERVICE, SCOPE_TERMINATOR, string_to_sign];
        let key = steps.iter().fold(secret.into_bytes(), |key, step| {
            sign(&Key::new(HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec()
        });
        HEXLOWER.encode(&key)
    }
}

impl fmt::Debug for SigningCaller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningCaller(..)")
    }
}

impl fmt::Debug for IamCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IamCredentials").field(&self.0.len()).finish()
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests;
