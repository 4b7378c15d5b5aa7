//! JWT claims that this application writes and reads (RFC 7519, section 4, plus `role` and `tenant`).
//!
//! [`JwtClaims`] are the claims of issued tokens. Tokens of other issuers are parsed as [`RawClaims`], which borrows,
//! accepts every form that RFC 7519 allows, and leaves each claim unvalidated until it is read.

use std::borrow::Cow;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::MIN_SECRET_BYTES;
use crate::id::{TenantId, UserId};
use crate::identity::Role;

/// Claims of tokens issued by this application, for `twinway token` and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtClaims {
    /// Id of the user.
    pub sub: UserId,
    pub role: Role,
    pub tenant: TenantId,
    /// Expiry, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Time of issue, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
}

/// An error of [`mint_hs256`].
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The secret is shorter than a verifier accepts.
    #[error("an HS256 secret must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2)")]
    ShortSecret,
    /// Signing failed.
    #[error("could not sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Signs `claims` with HS256 and returns the token in its compact form.
///
/// # Errors
/// [`MintError`] if the secret is too short or signing fails.
pub fn mint_hs256(secret: &[u8], claims: &JwtClaims) -> Result<String, MintError> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(MintError::ShortSecret);
    }
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).map_err(MintError::Sign)
}

/// Unvalidated claims of a token, as written by its issuer.
#[derive(Deserialize)]
pub(super) struct RawClaims<'a> {
    #[serde(borrow, default)]
    pub sub: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub role: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub tenant: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub iss: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub aud: Option<AudienceClaim<'a>>,
    #[serde(default, deserialize_with = "numeric_date")]
    pub exp: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date")]
    pub nbf: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date")]
    pub iat: Option<i64>,
    #[serde(borrow, default)]
    pub jti: Option<Cow<'a, str>>,
}

/// `aud` is one string or an array of them (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum AudienceClaim<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

impl AudienceClaim<'_> {
    pub(super) fn contains(&self, expected: &str) -> bool {
        match self {
            Self::One(audience) => audience == expected,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == expected),
        }
    }
}

/// Parses a NumericDate and drops its fraction (RFC 7519, section 2).
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.and_then(|number| number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64))))
}
