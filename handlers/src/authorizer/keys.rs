//! Verification keys of tokens and their sources.
//!
//! Invariant: a key is used only with the algorithms it was configured for, so a token cannot make a public key act as
//! an HMAC secret (RFC 8725, section 2.1). Fetching keys over the network is left to adapters of [`KeySource`].

mod jwk;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::jwk::parse_algorithm;
pub use self::jwk::{SkippedKey, SkippedKeyReason};
use crate::ports::BoxError;

/// Shortest accepted HS256 secret, in bytes: the length of the hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Fewest different bytes of a secret or API key. 32 random hexadecimal digits have fewer with a probability of 10⁻⁵.
const MIN_DIFFERENT_BYTES: usize = 8;
/// Shell command that generates an HS256 secret, for messages to operators.
pub const SECRET_COMMAND: &str = "`openssl rand -base64 32`";
/// Maximum keys of one document; identity providers publish two to five.
pub const MAX_KEYS_PER_DOCUMENT: usize = 100;

/// A key with its permitted algorithms. Its `Debug` output contains no key material.
#[derive(Debug, Clone)]
pub struct VerificationKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    material: KeyMaterial,
}

/// Secret or public part of a key.
#[derive(Debug, Clone)]
enum KeyMaterial {
    /// An HS256 secret with a precomputed key schedule.
    Secret(Box<hmac::Key>),
    Public(DecodingKey),
}

/// A set of keys: HS256 secrets and the public keys of JWK sets.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Arc<VerificationKey>>,
    skipped: Vec<SkippedKey>,
}

/// An invalid key or key document.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The secret is short enough to be guessed.
    #[error(
        "an HS256 secret must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, section 3.2); {SECRET_COMMAND} generates one"
    )]
    ShortSecret,
    /// The secret has few different bytes, such as one repeated letter.
    #[error(
        "an HS256 secret must have at least {MIN_DIFFERENT_BYTES} different characters; {SECRET_COMMAND} generates one"
    )]
    WeakSecret,
    /// The document is not a JWK set.
    #[error("the key document is not a JWK set (RFC 7517, section 5)")]
    Document(#[source] serde_json::Error),
    /// The JWK set has no key that can verify signatures of a supported algorithm.
    #[error("the JWK set has no public key for RS, PS, ES256, ES384 or EdDSA signatures ({0})")]
    NoUsableKey(
        /// Skipped keys and their reasons.
        String,
    ),
}

/// An error of a [`KeySource`].
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The keys are unavailable; a retry may succeed.
    #[error("the token verification keys are unavailable")]
    Unavailable(#[source] BoxError),
}

/// A source of verification keys that are not configured as values.
///
/// ```
/// # use handlers::authorizer::{Algorithm, KeySet, KeySource};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let source: &dyn KeySource = &KeySet::default().with_secret(b"an HS256 secret of at least 32 bytes")?;
/// assert_eq!(source.find_keys(None, Algorithm::HS256).await?.len(), 1);
/// assert!(source.find_keys(None, Algorithm::RS256).await?.is_empty(), "a secret verifies HS256 signatures only");
/// assert!(source.refresh_keys(None, Algorithm::HS256).await.is_empty(), "a fixed set has no newer keys");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait KeySource: Send + Sync {
    /// Returns the keys that may have signed a token with this key id and algorithm; an empty list if the source has no
    /// such key. Called for every token, so a source caches keys and limits the time of a fetch.
    async fn find_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerificationKey>>, KeySourceError>;

    /// Returns keys like [`find_keys`](Self::find_keys) after a refresh from the origin, for a token that matches none
    /// of the found keys; an empty list if there are no new ones. Anyone can send such a token, so a source limits the
    /// rate of refreshes. If its origin is unavailable, it returns an empty list.
    async fn refresh_keys(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>>;
}

impl VerificationKey {
    /// Returns whether the key may have signed a token with this header. A key without an id matches any id.
    fn matches_header(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        let id_matches = match (self.id.as_deref(), id) {
            (Some(own), Some(requested)) => own == requested,
            _ => true,
        };
        id_matches && self.algorithms.contains(&algorithm)
    }

    /// Returns whether `signature` (base64url) is a valid signature of `signed` by this key.
    pub(super) fn verify_signature(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        self.algorithms.contains(&algorithm) && self.material.verify_signature(algorithm, signed, signature)
    }
}

/// Checks the length and the variety of a secret.
///
/// # Errors
/// [`KeySetError::ShortSecret`] or [`KeySetError::WeakSecret`].
pub fn check_secret(secret: &[u8]) -> Result<(), KeySetError> {
    match () {
        () if secret.len() < MIN_SECRET_BYTES => Err(KeySetError::ShortSecret),
        () if is_repetitive(secret) => Err(KeySetError::WeakSecret),
        () => Ok(()),
    }
}

/// Returns whether a secret has few different bytes, so that it can be guessed whatever its length.
#[must_use]
pub fn is_repetitive(secret: &[u8]) -> bool {
    secret.iter().collect::<BTreeSet<_>>().len() < MIN_DIFFERENT_BYTES
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
    /// Parses the public keys of a JWK set. Unknown key types are skipped (RFC 7517, section 5), and so are symmetric
    /// keys; [`skipped_keys`](Self::skipped_keys) returns the reasons.
    ///
    /// # Errors
    /// [`KeySetError`] if the text is not a JWK set or has no usable key.
    pub fn from_jwks(text: &str) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct JwkSetDocument {
            keys: Vec<Value>,
        }
        let document: JwkSetDocument = serde_json::from_str(text).map_err(KeySetError::Document)?;
        let mut set = Self::default();
        for (index, key) in document.keys.into_iter().enumerate() {
            let id = jwk::key_id(&key);
            let parsed =
                if index < MAX_KEYS_PER_DOCUMENT { jwk::parse_jwk(key) } else { Err(SkippedKeyReason::TooMany) };
            match parsed {
                Ok(key) => set.keys.push(Arc::new(key)),
                Err(reason) => set.skipped.push(SkippedKey { id, reason }),
            }
        }
        if set.keys.is_empty() { Err(KeySetError::NoUsableKey(jwk::describe_skipped(&set.skipped))) } else { Ok(set) }
    }

    /// Returns the keys of the document that verify no token, with the reasons.
    #[must_use]
    pub fn skipped_keys(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Returns the skipped keys and their reasons as one text for a log, or `None` if no key was skipped.
    #[must_use]
    pub fn describe_skipped_keys(&self) -> Option<String> {
        (!self.skipped.is_empty()).then(|| jwk::describe_skipped(&self.skipped))
    }

    /// Adds an HS256 secret. During a rotation the set has several secrets, each of which verifies tokens.
    ///
    /// # Errors
    /// [`KeySetError::ShortSecret`] if the secret is shorter than [`MIN_SECRET_BYTES`], [`KeySetError::WeakSecret`] if
    /// it repeats few bytes.
    pub fn with_secret(mut self, secret: &[u8]) -> Result<Self, KeySetError> {
        check_secret(secret)?;
        let material = KeyMaterial::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
        self.keys.push(Arc::new(VerificationKey { id: None, algorithms: vec![Algorithm::HS256], material }));
        Ok(self)
    }

    /// Returns the union of two sets.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        self.skipped.extend(other.skipped);
        self
    }

    /// Returns the keys that may have signed a token with this key id and algorithm.
    pub fn candidate_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Arc<VerificationKey>> {
        self.keys.iter().filter(move |key| key.matches_header(id, algorithm))
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns whether the set is empty.
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
