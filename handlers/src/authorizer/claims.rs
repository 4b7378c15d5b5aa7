//! What a token says: the claims this application writes and reads (RFC 7519, section 4, plus `role` and `tenant`).
//!
//! [`JwtClaims`] is the form that is written. Tokens of other issuers are read with [`RawClaims`], which borrows, takes
//! every form that RFC 7519 allows, and leaves each claim unchecked until somebody asks for it by name.

use std::borrow::Cow;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Deserializer, Serialize};

use super::keys::MIN_SECRET_BYTES;
use crate::id::{TenantId, UserId};
use crate::identity::Role;

/// The claims of a token that this application issues, for `twinway token` and for tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtClaims {
    /// Who the token is for.
    pub sub: UserId,
    /// What its bearer may do.
    pub role: Role,
    /// Whose deployment the bearer belongs to.
    pub tenant: TenantId,
    /// When it ends, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was issued, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The verifier would not take such a secret either.
    #[error("an HS256 secret must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2)")]
    ShortSecret,
    /// The signature could not be made.
    #[error("could not sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Signs `claims` with HS256 and returns the token in its compact form.
///
/// # Errors
/// [`MintError`] when the secret is too short or the signature fails.
pub fn mint_hs256(secret: &[u8], claims: &JwtClaims) -> Result<String, MintError> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(MintError::ShortSecret);
    }
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).map_err(MintError::Sign)
}

/// The claims of a token as its issuer wrote them, before anything is believed of them.
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
}

/// `aud` is one string or an array of them (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum AudienceClaim<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

impl AudienceClaim<'_> {
    pub(super) fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Many(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

/// A NumericDate may have a fraction (RFC 7519, section 2); its whole seconds are enough.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.and_then(|number| number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64))))
}
