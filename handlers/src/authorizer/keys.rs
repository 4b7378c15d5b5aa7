//! The keys that tokens are verified with, and where they come from.
//!
//! Invariant: a key knows the algorithms it may be used with, and nothing else is ever tried with it. A token chooses
//! among them and cannot talk a public key into being an HMAC secret (RFC 8725, section 2.1). Fetching keys over the
//! network is not done here; that is an adapter of [`KeySource`].

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use crate::ports::BoxError;

/// Shortest HS256 secret that is taken, in bytes: as long as the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Most keys that are taken from one document; providers publish two to five.
pub const MAX_KEYS_PER_DOCUMENT: usize = 100;

const RSA_ALGORITHMS: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// One key, with what it may be used for. Its `Debug` shows no key material.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: KeyMaterial,
}

/// What signatures are verified with.
#[derive(Debug, Clone)]
enum KeyMaterial {
    /// An HS256 secret, its key schedule made once.
    Secret(Box<hmac::Key>),
    /// A public key.
    Public(DecodingKey),
}

/// Keys at hand: HS256 secrets and the public keys of JWK sets.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
}

/// Why a configured key is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// A secret that can be guessed.
    #[error("an HS256 secret must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2)")]
    ShortSecret,
    /// Not a JWK set.
    #[error("the key document is not a JWK set (RFC 7517, section 5)")]
    Document(#[source] serde_json::Error),
    /// A JWK set in which no key can verify a signature of a known algorithm.
    #[error("the JWK set has no public key for RS, PS, ES256, ES384 or EdDSA signatures")]
    NoUsableKey,
}

/// Why a source has no answer at the moment.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The keys cannot be had now; the same call may succeed later.
    #[error("the keys that tokens are verified with are unavailable")]
    Unavailable(#[source] BoxError),
}

/// Where verification keys come from when they are not configured as values.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The keys that may have signed a token with this key id and algorithm; none when the source is sure that it
    /// has no such key. A source bounds its own waiting and keeps its own cache: it is asked for every token.
    async fn find_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerificationKey>>, KeySourceError>;

    /// The same after another look where they come from, for a token that none of [`find_keys`](Self::keys) has signed; none when
    /// there is nothing new. Anybody can bring such a token, so a source bounds how often it looks, and one that is away
    /// then has nothing new.
    async fn refresh_keys(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>>;
}

impl VerificationKey {
    fn from_jwk(jwk: &Jwk) -> Option<Self> {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let suited: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA_ALGORITHMS,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
            // A secret in a public document is a mistake, never a key.
            _ => return None,
        };
        let algorithms: Vec<_> = match jwk.common.key_algorithm {
            None => suited.to_vec(),
            Some(named) => suited.iter().copied().filter(|algorithm| named == (*algorithm).into()).collect(),
        };
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty()).then(|| Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            material: KeyMaterial::Public(key),
        })
    }

    /// Whether the key may have signed a token with this header. A key without an id stands for any id.
    fn matches_header(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        let named = match (self.id.as_deref(), id) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        named && self.algorithms.contains(&algorithm)
    }

    /// Whether `signature` (base64url) is this key's over `signed`.
    pub(super) fn verify_signature(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        self.algorithms.contains(&algorithm) && self.material.verify_signature(algorithm, signed, signature)
    }
}

impl KeyMaterial {
    fn verify_signature(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        match self {
            Self::Public(key) => jsonwebtoken::crypto::verify(signature, signed, key, algorithm).unwrap_or(false),
            Self::Secret(key) => {
                let tag = BASE64_URL_SAFE_NO_PAD.decode(signature);
                tag.is_ok_and(|tag| hmac::verify(key, signed, &tag).is_ok())
            }
        }
    }
}

impl KeySet {
    /// The public keys of a JWK set. Keys of a kind that is not known are skipped (RFC 7517, section 5), and so are
    /// symmetric ones.
    ///
    /// # Errors
    /// [`KeySetError`] when the text is no JWK set or has no key that can be used.
    pub fn from_jwks(text: &str) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct JwkSetDocument {
            keys: Vec<Value>,
        }
        let document: JwkSetDocument = serde_json::from_str(text).map_err(KeySetError::Document)?;
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .take(MAX_KEYS_PER_DOCUMENT)
            .filter_map(|key| VerificationKey::from_jwk(&serde_json::from_value(key).ok()?))
            .map(Arc::new)
            .collect();
        if keys.is_empty() { Err(KeySetError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// The same keys and an HS256 secret. Several secrets make a rotation: each of them verifies.
    ///
    /// # Errors
    /// [`KeySetError::ShortSecret`] below [`MIN_SECRET_BYTES`].
    pub fn with_secret(mut self, secret: &[u8]) -> Result<Self, KeySetError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeySetError::ShortSecret);
        }
        let material = KeyMaterial::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
        self.keys.push(Arc::new(VerificationKey { id: None, algorithms: vec![Algorithm::HS256], material }));
        Ok(self)
    }

    /// The keys of both.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self
    }

    /// The keys that may have signed a token with this key id and algorithm.
    pub fn candidate_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Arc<VerificationKey>> {
        self.keys.iter().filter(move |key| key.matches_header(id, algorithm))
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

#[async_trait]
impl KeySource for KeySet {
    async fn find_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerificationKey>>, KeySourceError> {
        Ok(self.candidate_keys(id, algorithm).cloned().collect())
    }

    async fn refresh_keys(&self, _: Option<&str>, _: Algorithm) -> Vec<Arc<VerificationKey>> {
        Vec::new()
    }
}
