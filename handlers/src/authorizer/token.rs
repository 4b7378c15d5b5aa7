//! Verifying a token: signature, time, issuer, audience, and the identity in it (RFC 7519; RFC 8725: what to refuse).
//!
//! Invariant: no claim is believed before the signature holds, and the clock is the caller's. It never logs and never
//! puts a token or a subject into an error; [`TokenError::reason_code`] is a word that may be logged.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::RawClaims;
use super::keys::{Algorithm, KeySet, KeySource, KeySourceError};
use crate::id::{TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::Timestamp;

/// Longest token that is looked at, in bytes: API Gateway's limit for all headers of a request together is 10,240.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// Most keys that one token is tried against, so that a token without a key id cannot buy a hundred RSA operations.
const MAX_KEYS_TRIED: usize = 8;

/// Whether a token must say when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// A token without `exp` is refused.
    Required,
    /// A token without `exp` is good for ever.
    Optional,
}

/// What a verifier believes.
#[derive(Clone)]
pub struct TokenSettings {
    /// The keys at hand. The algorithms that are accepted follow from them.
    pub keys: KeySet,
    /// Where more keys come from; asked when none of `keys` fits.
    pub source: Option<Arc<dyn KeySource>>,
    /// The only issuer that is believed; `None` believes the signature alone.
    pub issuer: Option<String>,
    /// What a token's `aud` must contain; `None` leaves `aud` unread.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// Whether `exp` must be there.
    pub expiry: ExpiryPolicy,
}

/// Verifies tokens. Cheap to share, holds no state of its own.
pub struct TokenVerifier {
    settings: TokenSettings,
}

/// Why a token names nobody. All but [`TokenError::KeysUnavailable`] are the bearer's fault.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url JSON, too long, or with a `crit` header that nobody here understands.
    #[error("the token is malformed")]
    Malformed,
    /// No key is known for its algorithm and key id.
    #[error("no key is known for the token")]
    UnknownKey,
    /// Somebody else signed it, or it was changed.
    #[error("the token's signature does not hold")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is yet to come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iss` is not the configured issuer.
    #[error("the token comes from another issuer")]
    Issuer,
    /// `aud` does not contain the configured audience.
    #[error("the token is for another audience")]
    Audience,
    /// A claim is missing, or its value is none that this application knows.
    #[error("the token's claim '{0}' is missing or refused")]
    Claim(&'static str),
    /// The keys cannot be had now. Says nothing about the token.
    #[error("the token could not be verified")]
    KeysUnavailable(#[source] KeySourceError),
}

impl TokenError {
    /// One word for the log, the same for every bearer.
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
    /// Believes what `keys` signed: one minute of leeway, `exp` required, any issuer and audience.
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
    /// A verifier with these settings.
    #[must_use]
    pub const fn new(settings: TokenSettings) -> Self {
        Self { settings }
    }

    /// Who the bearer of `token` is at `now`.
    ///
    /// # Errors
    /// [`TokenError`]; only [`TokenError::KeysUnavailable`] may be different on a second try.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, TokenError> {
        let compact = CompactToken::split(token)?;
        self.check_signature(&compact).await?;
        let payload = URL_SAFE_NO_PAD.decode(compact.payload).map_err(|_| TokenError::Malformed)?;
        let claims: RawClaims<'_> = serde_json::from_slice(&payload).map_err(|_| TokenError::Malformed)?;
        self.check_time(&claims, now)?;
        self.check_origin(&claims)?;
        identity_from_claims(&claims, self.leeway_seconds())
    }

    async fn check_signature(&self, compact: &CompactToken<'_>) -> Result<(), TokenError> {
        let decoded = URL_SAFE_NO_PAD.decode(compact.header).map_err(|_| TokenError::Malformed)?;
        let header = TokenHeader::parse(&decoded)?;
        let id = header.kid.as_deref();
        let mut known = false;
        for key in self.settings.keys.candidate_keys(id, header.alg).take(MAX_KEYS_TRIED) {
            known = true;
            if key.verify_signature(header.alg, compact.signed, compact.signature) {
                return Ok(());
            }
        }
        let Some(source) = &self.settings.source else { return Err(signature_error(known)) };
        for anew in [false, true] {
            let keys = match anew {
                false => source.find_keys(id, header.alg).await.map_err(TokenError::KeysUnavailable)?,
                true => source.refresh_keys(id, header.alg).await,
            };
            known = known || !keys.is_empty();
            let mut tried = keys.iter().take(MAX_KEYS_TRIED);
            if tried.any(|key| key.verify_signature(header.alg, compact.signed, compact.signature)) {
                return Ok(());
            }
        }
        Err(signature_error(known))
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

    /// How far clocks may be apart, in seconds.
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

const fn signature_error(known: bool) -> TokenError {
    if known { TokenError::Signature } else { TokenError::UnknownKey }
}

/// The identity lasts until the verifier would refuse its token, so that whoever is let in can also speak.
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

/// A token in its compact form (RFC 7515, section 3.1), split but not decoded.
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

/// What of a header decides which key is tried. Keys that a header brings along (`jwk`, `x5c`, `jku`) are never read.
#[derive(Deserialize)]
struct TokenHeader<'a> {
    alg: Algorithm,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default)]
    crit: Option<IgnoredAny>,
}

impl<'a> TokenHeader<'a> {
    /// An extension that must be understood is refused: none is (RFC 7515, section 4.1.11).
    fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        let header: Self = serde_json::from_slice(json).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() { Err(TokenError::Malformed) } else { Ok(header) }
    }
}
