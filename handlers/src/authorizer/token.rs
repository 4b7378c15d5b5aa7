//! Token verification: signature, time, issuer, audience and identity (RFC 7519; security rules of RFC 8725).
//!
//! No claim is read before the signature is verified, and the current time is a parameter. The verifier never logs and
//! never includes a token or the value of a claim in an error; [`TokenError::reason_code`] is safe to log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claim_mapping::ClaimMapping;
use super::claims::{ClaimError, RawClaims};
use super::keys::{Algorithm, KeySet, KeySource, KeySourceError, parse_algorithm};
use crate::channel_policy::ChannelGrants;
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
    /// Accepted issuers; empty accepts any.
    pub issuers: Vec<String>,
    /// Audiences of which `aud` must contain one; empty ignores `aud`.
    pub audiences: Vec<String>,
    /// Claims of user, role, tenant and granted channels.
    pub claims: ClaimMapping,
    /// Accepted difference between the clocks of issuer and server.
    pub leeway: Duration,
    pub expiry: ExpiryPolicy,
    /// Longest accepted time until `exp`; `None` accepts any.
    pub max_lifetime: Option<Duration>,
}

/// The claims of a valid token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The bearer.
    pub identity: Identity,
    /// The claims that a revocation refers to.
    pub issue: TokenIssue,
    /// Rooms and topics that the bearer may join; all for admins and services.
    pub channels: ChannelGrants,
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
    /// `alg` is none of the supported algorithms.
    #[error("the token's algorithm is not supported")]
    UnsupportedAlgorithm,
    /// No key matches the algorithm and key id.
    #[error("no key matches the token")]
    UnknownKey,
    /// The token was signed by another key, or modified.
    #[error("the token's signature is invalid")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `exp` is further in the future than the settings accept.
    #[error("the token is valid for longer than accepted")]
    Lifetime,
    /// `iss` is not an accepted issuer.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` contains no accepted audience.
    #[error("the token's audience is not accepted")]
    Audience,
    /// A claim, by its configured name, is missing or invalid, or has no accepted value.
    #[error("the token's claim '{0}' is missing or invalid")]
    Claim(Arc<str>),
    /// The keys are unavailable. The token may be valid.
    #[error("the token could not be verified")]
    KeysUnavailable(#[source] KeySourceError),
}

impl TokenError {
    /// Returns a short code for logs, independent of the content of the token: the kind of error, or the name of the
    /// claim.
    #[must_use]
    pub fn reason_code(&self) -> &str {
        match self {
            Self::Malformed => "malformed",
            Self::UnsupportedAlgorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Lifetime => "lifetime",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claim(claim) => claim,
            Self::KeysUnavailable(_) => "keys_unavailable",
        }
    }
}

impl TokenSettings {
    /// Accepts tokens signed by `keys`: one minute of leeway, `exp` required, any issuer, audience and lifetime, the
    /// claims `sub`, `role` and `tenant`.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self {
            keys,
            source: None,
            issuers: Vec::new(),
            audiences: Vec::new(),
            claims: ClaimMapping::default(),
            leeway: Duration::from_secs(60),
            expiry: ExpiryPolicy::Required,
            max_lifetime: None,
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
        let claims = RawClaims::parse(&payload).map_err(|_| TokenError::Malformed)?;
        let expires_at = self.check_time(&claims, now)?;
        self.check_origin(&claims)?;
        let mapping = &self.settings.claims;
        let (user, role) = (mapping.user_of(&claims)?, mapping.role_of(&claims)?);
        let channels = if role == Role::User { mapping.channels_of(&claims)? } else { ChannelGrants::default() };
        let identity = Identity { tenant: mapping.tenant_of(&claims)?, user, role, expires_at };
        let issue = TokenIssue { issued_at: claims.numeric_date("iat")?, token: claims.token_id()? };
        Ok(VerifiedToken { identity, issue, channels })
    }

    async fn check_signature(&self, compact: &CompactToken<'_>) -> Result<(), TokenError> {
        let decoded = URL_SAFE_NO_PAD.decode(compact.header).map_err(|_| TokenError::Malformed)?;
        let header = TokenHeader::parse(&decoded)?;
        let (id, algorithm) = (header.kid.as_deref(), header.algorithm()?);
        let mut key_found = false;
        for key in self.settings.keys.candidate_keys(id, algorithm).take(MAX_KEYS_TRIED) {
            key_found = true;
            if key.verify_signature(algorithm, compact.signed, compact.signature) {
                return Ok(());
            }
        }
        let Some(source) = &self.settings.source else { return Err(signature_error(key_found)) };
        for refresh in [false, true] {
            let keys = match refresh {
                false => source.find_keys(id, algorithm).await.map_err(TokenError::KeysUnavailable)?,
                true => source.refresh_keys(id, algorithm).await,
            };
            key_found = key_found || !keys.is_empty();
            let mut candidates = keys.iter().take(MAX_KEYS_TRIED);
            if candidates.any(|key| key.verify_signature(algorithm, compact.signed, compact.signature)) {
                return Ok(());
            }
        }
        Err(signature_error(key_found))
    }

    /// Checks `exp`, `nbf` and `iat`: a token issued in the future would outlive revocations. Returns the expiry with the leeway, so that a connection accepted within the leeway can
    /// send frames.
    fn check_time(&self, claims: &RawClaims, now: Timestamp) -> Result<Option<i64>, TokenError> {
        let (leeway, now) = (self.leeway_seconds(), now.unix_seconds());
        let expiry = claims.numeric_date("exp")?;
        match expiry {
            None if self.settings.expiry == ExpiryPolicy::Required => return Err(TokenError::Claim("exp".into())),
            Some(exp) if now >= exp.saturating_add(leeway) => return Err(TokenError::Expired),
            Some(exp) if self.is_too_long(exp, now) => return Err(TokenError::Lifetime),
            _ => {}
        }
        for name in ["nbf", "iat"] {
            if claims.numeric_date(name)?.is_some_and(|start| now.saturating_add(leeway) < start) {
                return Err(TokenError::NotYetValid);
            }
        }
        Ok(expiry.map(|exp| exp.saturating_add(leeway)))
    }

    fn is_too_long(&self, exp: i64, now: i64) -> bool {
        let longest = self.settings.max_lifetime.map(|lifetime| i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
        longest.is_some_and(|longest| exp > now.saturating_add(longest).saturating_add(self.leeway_seconds()))
    }

    /// Returns the time after which every token that was issued until now is rejected, leeway included; `None` if tokens
    /// may be valid for any time.
    pub(crate) fn longest_validity(&self) -> Option<Duration> {
        let TokenSettings { max_lifetime, leeway, .. } = &self.settings;
        // Once for the clock of the issuer (`is_too_long`), and once for the expiry.
        max_lifetime.map(|lifetime| lifetime.saturating_add(leeway.saturating_mul(2)))
    }

    /// Returns the accepted difference between the clocks of issuer and server, in seconds.
    pub(crate) fn leeway_seconds(&self) -> i64 {
        i64::try_from(self.settings.leeway.as_secs()).unwrap_or(i64::MAX)
    }

    fn check_origin(&self, claims: &RawClaims) -> Result<(), TokenError> {
        let TokenSettings { issuers, audiences, .. } = &self.settings;
        if !issuers.is_empty() && !claims.has_issuer(issuers) {
            return Err(TokenError::Issuer);
        }
        if !audiences.is_empty() && !claims.has_audience(audiences) {
            return Err(TokenError::Audience);
        }
        Ok(())
    }
}

impl From<ClaimError> for TokenError {
    fn from(ClaimError(name): ClaimError) -> Self {
        Self::Claim(name)
    }
}

const fn signature_error(key_found: bool) -> TokenError {
    if key_found { TokenError::Signature } else { TokenError::UnknownKey }
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
    #[serde(borrow)]
    alg: Cow<'a, str>,
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

    fn algorithm(&self) -> Result<Algorithm, TokenError> {
        parse_algorithm(&self.alg).ok_or(TokenError::UnsupportedAlgorithm)
    }
}
