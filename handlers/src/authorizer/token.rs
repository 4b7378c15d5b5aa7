//! Token verification: signature, time, issuer, audience and identity (RFC 7519; security rules of RFC 8725).
//!
//! No claim is read before the signature is verified, and the current time is a parameter. The verifier never logs and
//! never includes a token or a subject in an error; [`TokenError::reason_code`] is safe to log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::RawClaims;
use super::keys::{Algorithm, KeySet, KeySource, KeySourceError};
use crate::id::{TenantId, TokenId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::{Timestamp, TokenIssue};

/// Longest accepted token, in bytes. API Gateway's limit for all headers of a request is 10,240.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Maximum keys tried for one token, so that a token without a key id cannot cause a hundred RSA operations.
const MAX_KEYS_TRIED: usize = 8;

/// Handling of tokens without `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// A token without `exp` is rejected.
    Required,
    /// A token without `exp` never expires.
    Optional,
}

/// Settings of a [`TokenVerifier`].
#[derive(Clone)]
pub struct TokenSettings {
    /// Configured keys. They determine the accepted algorithms.
    pub keys: KeySet,
    /// Source of further keys, used if none of `keys` verifies a token.
    pub source: Option<Arc<dyn KeySource>>,
    /// Accepted issuer; `None` accepts any.
    pub issuer: Option<String>,
    /// Audience that `aud` must contain; `None` ignores `aud`.
    pub audience: Option<String>,
    /// Accepted difference between the clocks of issuer and server.
    pub leeway: Duration,
    pub expiry: ExpiryPolicy,
}

/// The claims of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The bearer.
    pub identity: Identity,
    /// The claims that a revocation refers to.
    pub issue: TokenIssue,
}

/// Verifies tokens. It is stateless and cheap to share.
pub struct TokenVerifier {
    settings: TokenSettings,
}

/// A rejected token. Every case except [`TokenError::KeysUnavailable`] is an error of the client.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token does not have three parts of base64url JSON, is too long, or has an unsupported `crit` header.
    #[error("the token is malformed")]
    Malformed,
    /// No key matches the algorithm and key id.
    #[error("no key matches the token")]
    UnknownKey,
    /// The token was signed by another key, or modified.
    #[error("the token's signature is invalid")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the accepted issuer.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` does not contain the accepted audience.
    #[error("the token's audience is not accepted")]
    Audience,
    /// A claim is missing or invalid.
    #[error("the token's claim '{0}' is missing or invalid")]
    Claim(&'static str),
    /// The keys are unavailable. The token may be valid.
    #[error("the token could not be verified")]
    KeysUnavailable(#[source] KeySourceError),
}

impl TokenError {
    /// Returns a short code for logs, independent of the content of the token.
    #[must_use]
    pub const fn reason_code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim(claim) => claim,
            Self::KeysUnavailable(_) => "keys_unavailable",
        }
    }
}

impl TokenSettings {
    /// Accepts tokens signed by `keys`: one minute of leeway, `exp` required, any issuer and audience.
    #[must_use]
    pub const fn new(keys: KeySet) -> Self {
        Self {
            keys,
            source: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(60),
            expiry: ExpiryPolicy::Required,
        }
    }
}

impl TokenVerifier {
    /// Creates a verifier.
    #[must_use]
    pub const fn new(settings: TokenSettings) -> Self {
        Self { settings }
    }

    /// Verifies `token` at time `now` and returns the identity of its bearer.
    ///
    /// # Errors
    /// [`TokenError`]. Only [`TokenError::KeysUnavailable`] may succeed on a retry.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        Ok(self.verify_token(token, now).await?.identity)
    }

    /// Verifies `token` like [`Self::verify`], and returns also the claims that a revocation refers to.
    ///
    /// # Errors
    /// The same as [`Self::verify`].
    pub async fn verify_token(&self, token: &str, now: Timestamp) -> Result<VerifiedToken, TokenError> {
        let compact = CompactToken::split(token)?;
        self.check_signature(&compact).await?;
        let payload = URL_SAFE_NO_PAD.decode(compact.payload).map_err(|_| TokenError::Malformed)?;
        let claims: RawClaims<'_> = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        self.check_time(&claims, now)?;
        self.check_origin(&claims)?;
        let token = claims.jti.as_deref().and_then(|id| TokenId::parse(id).ok());
        let issue = TokenIssue { issued_at: claims.iat, token };
        Ok(VerifiedToken { identity: identity_from_claims(&claims, self.leeway_seconds())?, issue })
    }

    async fn check_signature(&self, compact: &CompactToken<'_>) -> Result<(), TokenError> {
        let decoded = URL_SAFE_NO_PAD.decode(compact.header).map_err(|_| TokenError::Malformed)?;
        let header = TokenHeader::parse(&decoded)?;
        let id = header.kid.as_deref();
        let mut key_found = false;
        for key in self.settings.keys.candidate_keys(id, header.alg).take(MAX_KEYS_TRIED) {
            key_found = true;
            if key.verify_signature(header.alg, compact.signed, compact.signature) {
                return Ok(());
            }
        }
        let Some(source) = &self.settings.source else { return Err(signature_error(key_found)) };
        for refresh in [false, true] {
            let keys = match refresh {
                false => source.find_keys(id, header.alg).await.map_err(TokenError::KeysUnavailable)?,
                true => source.refresh_keys(id, header.alg).await,
            };
            key_found = key_found || !keys.is_empty();
            let mut candidates = keys.iter().take(MAX_KEYS_TRIED);
            if candidates.any(|key| key.verify_signature(header.alg, compact.signed, compact.signature)) {
                return Ok(());
            }
        }
        Err(signature_error(key_found))
    }

    fn check_time(&self, claims: &RawClaims<'_>, now: Timestamp) -> Result<(), TokenError> {
        let leeway = self.leeway_seconds();
        match claims.exp {
            None if self.settings.expiry == ExpiryPolicy::Required => return Err(TokenError::Claim("exp")),
            Some(exp) if now.unix_seconds() >= exp.saturating_add(leeway) => return Err(TokenError::Expired),
            _ => {}
        }
        match claims.nbf {
            Some(nbf) if now.unix_seconds().saturating_add(leeway) < nbf => Err(TokenError::NotYetValid),
            _ => Ok(()),
        }
    }

    /// Returns the leeway in seconds.
    fn leeway_seconds(&self) -> i64 {
        i64::try_from(self.settings.leeway.as_secs()).unwrap_or(i64::MAX)
    }

    fn check_origin(&self, claims: &RawClaims<'_>) -> Result<(), TokenError> {
        if let Some(issuer) = &self.settings.issuer
            && claims.iss.as_deref() != Some(issuer)
        {
            return Err(TokenError::Issuer);
        }
        if let Some(audience) = &self.settings.audience
            && !claims.aud.as_ref().is_some_and(|audiences| audiences.contains(audience))
        {
            return Err(TokenError::Audience);
        }
        Ok(())
    }
}

const fn signature_error(key_found: bool) -> TokenError {
    if key_found { TokenError::Signature } else { TokenError::UnknownKey }
}

/// Builds the identity. Its expiry includes the leeway, so that a connection accepted within the leeway can send
/// frames.
fn identity_from_claims(claims: &RawClaims<'_>, leeway: i64) -> Result<Identity, TokenError> {
    let user = claims.sub.as_deref().and_then(|sub| UserId::parse(sub).ok()).ok_or(TokenError::Claim("sub"))?;
    let role = match claims.role.as_deref() {
        None => Role::User,
        Some(role) => Role::parse(role).ok_or(TokenError::Claim("role"))?,
    };
    let tenant = match claims.tenant.as_deref() {
        None => TenantId::default_tenant(),
        Some(tenant) => TenantId::parse(tenant).map_err(|_| TokenError::Claim("tenant"))?,
    };
    Ok(Identity { tenant, user, role, expires_at: claims.exp.map(|exp| exp.saturating_add(leeway)) })
}

/// A token in compact form (RFC 7515, section 3.1), split but not decoded.
struct CompactToken<'a> {
    signed: &'a [u8],
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> CompactToken<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        Ok(Self { signed: signed.as_bytes(), header, payload, signature })
    }
}

/// Header fields that select the key. Keys inside a header (`jwk`, `x5c`, `jku`) are never read.
#[derive(Deserialize)]
struct TokenHeader<'a> {
    alg: Algorithm,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl<'a> TokenHeader<'a> {
    /// Parses a header and rejects any critical extension, because none is supported (RFC 7515, section 4.1.11).
    fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        let header: Self = serde_json::from_slice(json).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() { Err(TokenError::Malformed) } else { Ok(header) }
    }
}
