//! Public keys of a JWK set (RFC 7517), and the reasons for which a key is skipped.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::{KeyMaterial, MAX_KEYS_PER_DOCUMENT, VerificationKey};

const RSA_ALGORITHMS: &[Algorithm] =
    &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
/// Smallest modulus of an RSA key in bytes: 2,048 bits (RFC 7518, section 3.3).
const MIN_RSA_BYTES: usize = 256;
/// Longest part of a key id in a log, in characters.
const MAX_LOGGED_ID: usize = 64;
/// Maximum number of skipped keys that one log record describes.
const MAX_DESCRIBED_KEYS: usize = 8;

/// Reason for which a key of a JWK set verifies no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkippedKeyReason {
    /// The key is not a JWK, or a parameter of its type is missing or malformed.
    Malformed,
    /// `use` or `key_ops` excludes signatures.
    NotForSignatures,
    /// A symmetric key in a public document is an error of the provider.
    Symmetric,
    /// `kty` is none of RSA, EC and OKP.
    UnsupportedType,
    /// `crv` is none of P-256, P-384 and Ed25519.
    UnsupportedCurve,
    /// `alg` is not an algorithm of this type of key.
    UnsupportedAlgorithm,
    /// An RSA key below 2,048 bits.
    ShortRsaKey,
    /// The document has more keys than are read.
    TooMany,
}

impl fmt::Display for SkippedKeyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Malformed => "it is not a valid JWK",
            Self::NotForSignatures => "it is not for signatures ('use' or 'key_ops')",
            Self::Symmetric => "it is a symmetric key, which must not be published",
            Self::UnsupportedType => "its type 'kty' is not RSA, EC or OKP",
            Self::UnsupportedCurve => "its curve 'crv' is not P-256, P-384 or Ed25519",
            Self::UnsupportedAlgorithm => "its algorithm 'alg' is not supported for this type of key",
            Self::ShortRsaKey => "it is an RSA key of less than 2,048 bits",
            Self::TooMany => return write!(f, "the document has more than {MAX_KEYS_PER_DOCUMENT} keys"),
        };
        f.write_str(text)
    }
}

/// A skipped key of a JWK set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Key id (`kid`), if it has one.
    pub id: Option<String>,
    /// Reason for which no token is verified with it.
    pub reason: SkippedKeyReason,
}

impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => {
                write!(f, "key {:?}: {}", id.chars().take(MAX_LOGGED_ID).collect::<String>(), self.reason)
            }
            None => write!(f, "a key without id: {}", self.reason),
        }
    }
}

/// Returns the skipped keys as one text, the first [`MAX_DESCRIBED_KEYS`] of them.
pub(super) fn describe_skipped(skipped: &[SkippedKey]) -> String {
    let described: Vec<_> = skipped.iter().take(MAX_DESCRIBED_KEYS).map(ToString::to_string).collect();
    match skipped.len().saturating_sub(MAX_DESCRIBED_KEYS) {
        0 if skipped.is_empty() => "it is empty".to_owned(),
        0 => described.join("; "),
        more => format!("{}; and {more} more", described.join("; ")),
    }
}

/// Parses `alg` of a token or a key. `Ed25519` is the fully-specified name of `EdDSA` with that curve (RFC 9864,
/// section 2.2), the only curve that is supported.
pub(in crate::authorizer) fn parse_algorithm(text: &str) -> Option<Algorithm> {
    if text == "Ed25519" { Some(Algorithm::EdDSA) } else { text.parse().ok() }
}

/// Returns the key id of a JWK.
pub(super) fn key_id(key: &Value) -> Option<String> {
    key.get("kid").and_then(Value::as_str).map(str::to_owned)
}

/// Parses one key of a set.
pub(super) fn parse_jwk(mut key: Value) -> Result<VerificationKey, SkippedKeyReason> {
    check_use(&key)?;
    check_type(&key)?;
    let declared = match key.as_object_mut().and_then(|members| members.remove("alg")) {
        None | Some(Value::Null) => None,
        Some(alg) => {
            let known = alg.as_str().and_then(parse_algorithm);
            Some(known.ok_or(SkippedKeyReason::UnsupportedAlgorithm)?)
        }
    };
    let jwk: Jwk = serde_json::from_value(key).map_err(|_| SkippedKeyReason::Malformed)?;
    let supported = supported_algorithms(&jwk)?;
    let algorithms: Vec<_> =
        supported.iter().copied().filter(|algorithm| declared.is_none_or(|declared| declared == *algorithm)).collect();
    if algorithms.is_empty() {
        return Err(SkippedKeyReason::UnsupportedAlgorithm);
    }
    let material = DecodingKey::from_jwk(&jwk).map_err(|_| SkippedKeyReason::Malformed)?;
    Ok(VerificationKey { id: jwk.common.key_id, algorithms, material: KeyMaterial::Public(material) })
}

/// Checks `use` (RFC 7517, section 4.2) and `key_ops` (section 4.3).
fn check_use(key: &Value) -> Result<(), SkippedKeyReason> {
    let encrypts = key.get("use").and_then(Value::as_str) == Some("enc");
    let operations = key.get("key_ops").and_then(Value::as_array);
    let verifies = operations.is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if encrypts || !verifies { Err(SkippedKeyReason::NotForSignatures) } else { Ok(()) }
}

fn check_type(key: &Value) -> Result<(), SkippedKeyReason> {
    let curve = key.get("crv").and_then(Value::as_str).unwrap_or_default();
    match key.get("kty").and_then(Value::as_str) {
        None => Err(SkippedKeyReason::Malformed),
        Some("oct") => Err(SkippedKeyReason::Symmetric),
        Some("EC") if !matches!(curve, "P-256" | "P-384") => Err(SkippedKeyReason::UnsupportedCurve),
        Some("OKP") if curve != "Ed25519" => Err(SkippedKeyReason::UnsupportedCurve),
        Some("RSA" | "EC" | "OKP") => Ok(()),
        Some(_) => Err(SkippedKeyReason::UnsupportedType),
    }
}

fn supported_algorithms(jwk: &Jwk) -> Result<&'static [Algorithm], SkippedKeyReason> {
    match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => {
            let modulus = BASE64_URL_SAFE_NO_PAD.decode(&key.n).map_err(|_| SkippedKeyReason::Malformed)?;
            let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
            if significant < MIN_RSA_BYTES { Err(SkippedKeyReason::ShortRsaKey) } else { Ok(RSA_ALGORITHMS) }
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Ok(&[Algorithm::ES256]),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Ok(&[Algorithm::ES384]),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Ok(&[Algorithm::EdDSA]),
        // `check_type` accepts no other type, so a parameter is missing.
        _ => Err(SkippedKeyReason::Malformed),
    }
}
