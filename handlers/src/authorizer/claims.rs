//! JWT claims that this application writes and reads (RFC 7519, section 4, plus `role`, `tenant` and `channels`).
//!
//! [`JwtClaims`] are the claims of issued tokens. Tokens of other issuers are parsed as [`RawClaims`], which accepts
//! every form that RFC 7519 allows and leaves each claim unvalidated until it is read.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::claim_mapping::{ClaimPath, subject_text};
use super::keys::MIN_SECRET_BYTES;
use crate::id::TokenId;
use crate::identity::Role;

/// Claims of tokens issued by this application, for `twinway token` and tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwtClaims {
    /// Subject: the name of the user, in any characters.
    pub sub: String,
    pub role: Role,
    /// Name of the tenant, in any characters.
    pub tenant: String,
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
    /// Patterns of the rooms and topics that a user may join; `None` for the default of the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<String>>,
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

/// Signs `claims` ([`JwtClaims`], or any object) with HS256 and returns the token in its compact form.
///
/// # Errors
/// [`MintError`] if the secret is too short or signing fails.
pub fn mint_hs256(secret: &[u8], claims: &impl Serialize) -> Result<String, MintError> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(MintError::ShortSecret);
    }
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).map_err(MintError::Sign)
}

/// Unvalidated claims of a token, as written by its issuer.
pub(super) struct RawClaims(Map<String, Value>);

/// A claim that is missing or invalid, by its name or path.
pub(super) struct ClaimError(pub Arc<str>);

impl RawClaims {
    /// Parses the payload of a token, whose claim names must be unique (RFC 7519, section 4).
    pub(super) fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json).map(|UniqueClaims(claims)| Self(claims))
    }

    /// Returns a claim; `null` counts as absent.
    pub(super) fn find(&self, path: &ClaimPath) -> Option<&Value> {
        path.find_value(&self.0).filter(|value| !value.is_null())
    }

    fn named(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Returns a NumericDate without its fraction (RFC 7519, section 2).
    pub(super) fn numeric_date(&self, name: &'static str) -> Result<Option<i64>, ClaimError> {
        let Some(value) = self.named(name) else { return Ok(None) };
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64));
        seconds.map(Some).ok_or_else(|| ClaimError(name.into()))
    }

    /// Returns the id of `jti`, which is a string of any characters (RFC 7519, section 4.1.7), or a number as some
    /// providers write it. A token whose `jti` no revocation could name is rejected.
    pub(super) fn token_id(&self) -> Result<Option<TokenId>, ClaimError> {
        let Some(value) = self.named("jti") else { return Ok(None) };
        let text = subject_text(value).ok_or_else(|| ClaimError("jti".into()))?;
        TokenId::encode(&text).map(Some).map_err(|_| ClaimError("jti".into()))
    }

    /// Returns whether `iss` is one of `issuers`.
    pub(super) fn has_issuer(&self, issuers: &[String]) -> bool {
        self.named("iss").and_then(Value::as_str).is_some_and(|issuer| issuers.iter().any(|one| one == issuer))
    }

    /// Returns whether `aud` contains one of `audiences`: one string or an array of them (RFC 7519, section 4.1.3).
    /// Access tokens of Amazon Cognito have the claim `client_id` in place of `aud` ("Using the access token", Cognito
    /// developer guide), so it is read when `aud` is absent.
    pub(super) fn has_audience(&self, audiences: &[String]) -> bool {
        let accepted = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|one| one == text));
        match self.named("aud") {
            Some(Value::Array(values)) => values.iter().any(accepted),
            Some(value) => accepted(value),
            None => self.named("client_id").is_some_and(accepted),
        }
    }
}

/// An object whose names are unique.
struct UniqueClaims(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueClaims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueClaimsVisitor)
    }
}

struct UniqueClaimsVisitor;

impl<'de> Visitor<'de> for UniqueClaimsVisitor {
    type Value = UniqueClaims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UniqueClaims, A::Error> {
        let mut claims = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if claims.insert(name, value).is_some() {
                return Err(A::Error::custom("a claim is repeated"));
            }
        }
        Ok(UniqueClaims(claims))
    }
}
