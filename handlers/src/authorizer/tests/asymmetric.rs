//! Tests of public keys: every supported algorithm from a JWK set, and attacks with forged headers.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};

use super::*;

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> EncodingKey {
    EncodingKey::from_ec_der(EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap().as_ref())
}

fn ed() -> EncodingKey {
    EncodingKey::from_ed_der(Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap().as_ref())
}

fn rsa() -> EncodingKey {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>) -> Value {
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(key, algorithm).unwrap()).unwrap();
    if let Some(id) = id {
        jwk["kid"] = json!(id);
    }
    jwk
}

/// Returns a JWK without `alg`.
fn jwk_without_alg(key: &EncodingKey, algorithm: Algorithm) -> Value {
    let mut jwk = jwk(key, algorithm, None);
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}

fn accepting(keys: &[Value]) -> TokenSettings {
    TokenSettings::new(KeySet::from_jwks(&json!({ "keys": keys }).to_string()).unwrap())
}

fn signed_by(key: &EncodingKey, algorithm: Algorithm, id: Option<&str>) -> String {
    encode(&Header { kid: id.map(str::to_owned), ..Header::new(algorithm) }, &claims(), key).unwrap()
}

#[tokio::test]
async fn every_algorithm_verifies_with_its_own_key_alone() {
    let (rsa, p256, p384, ed) =
        (rsa(), ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P384_SHA384_FIXED_SIGNING), ed());
    let all = [
        (&rsa, Algorithm::RS256),
        (&rsa, Algorithm::RS384),
        (&rsa, Algorithm::RS512),
        (&rsa, Algorithm::PS256),
        (&p256, Algorithm::ES256),
        (&p384, Algorithm::ES384),
        (&ed, Algorithm::EdDSA),
    ];
    let set: Vec<_> = all.iter().map(|(key, algorithm)| jwk(key, *algorithm, None)).collect();
    for (key, algorithm) in all {
        let token = signed_by(key, algorithm, None);
        assert_eq!(verified(accepting(&set), &token).await.user.as_str(), "alice", "{algorithm:?}");
        verified(accepting(&[jwk_without_alg(key, algorithm)]), &token).await;
        let others: Vec<_> = set.iter().filter(|jwk| jwk["alg"] != json!(algorithm)).cloned().collect();
        assert_eq!(rejection_code(accepting(&others), &token).await, "unknown_key", "{algorithm:?}");
    }
}

#[tokio::test]
async fn the_key_id_selects_the_key() {
    let (current, next) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let es256 = Algorithm::ES256;
    let set = [jwk(&current, es256, Some("current")), jwk(&next, es256, Some("next"))];
    verified(accepting(&set), &signed_by(&next, es256, Some("next"))).await;
    verified(accepting(&set), &signed_by(&next, es256, None)).await;
    assert_eq!(rejection_code(accepting(&set), &signed_by(&next, es256, Some("current"))).await, "signature");
    assert_eq!(rejection_code(accepting(&set), &signed_by(&next, es256, Some("old"))).await, "unknown_key");
}

#[tokio::test]
async fn a_public_key_is_never_an_hmac_secret() {
    let key = ec(&ECDSA_P256_SHA256_FIXED_SIGNING);
    let public = jwk(&key, Algorithm::ES256, Some("k"));
    let header = json!({"alg": "HS256", "kid": "k"});
    let claims = serde_json::to_value(claims()).unwrap();
    for secret in [public.to_string(), public["x"].as_str().unwrap().to_owned()] {
        let forged = signed(&header, &claims, secret.as_bytes());
        assert_eq!(rejection_code(accepting(std::slice::from_ref(&public)), &forged).await, "unknown_key");
    }
}

#[tokio::test]
async fn a_key_in_the_header_is_not_read() {
    let (trusted, own) = (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
    let header =
        Header { jwk: Some(Jwk::from_encoding_key(&own, Algorithm::ES256).unwrap()), ..Header::new(Algorithm::ES256) };
    let forged = encode(&header, &claims(), &own).unwrap();
    assert_eq!(rejection_code(accepting(&[jwk(&trusted, Algorithm::ES256, None)]), &forged).await, "signature");
}

#[tokio::test]
async fn a_source_is_used_when_no_configured_key_matches() {
    let key = ed();
    let source = KeySet::from_jwks(&json!({"keys": [jwk(&key, Algorithm::EdDSA, None)]}).to_string()).unwrap();
    let both = || TokenSettings { source: Some(Arc::new(source.clone())), ..settings() };
    verified(both(), &signed_by(&key, Algorithm::EdDSA, Some("any"))).await;
    verified(both(), &mint_hs256(SECRET, &claims()).unwrap()).await;
    assert_eq!(rejection_code(both(), &signed_by(&ed(), Algorithm::EdDSA, None)).await, "signature");
}

#[test]
fn a_set_skips_unusable_keys_and_fails_without_a_usable_one() {
    let usable = jwk(&ed(), Algorithm::EdDSA, Some("a"));
    let mut encrypting = usable.clone();
    encrypting["use"] = json!("enc");
    let symmetric = json!({"kty": "oct", "alg": "HS256", "k": STANDARD.encode(SECRET)});
    let unknown = json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"});
    let set = json!({"keys": [usable, encrypting, symmetric, unknown, {"kty": 7}, "x"]});
    let keys = KeySet::from_jwks(&set.to_string()).unwrap();
    assert_eq!(keys.len(), 1);
    let reasons: Vec<_> = keys.skipped_keys().iter().map(|skipped| skipped.reason).collect();
    use SkippedKeyReason as Reason;
    let expected =
        [Reason::NotForSignatures, Reason::Symmetric, Reason::UnsupportedType, Reason::Malformed, Reason::Malformed];
    assert_eq!(reasons, expected);
    let useless = json!({"keys": [encrypting, symmetric]}).to_string();
    assert!(matches!(KeySet::from_jwks(&useless), Err(KeySetError::NoUsableKey(_))));
    assert!(matches!(KeySet::from_jwks("<html>"), Err(KeySetError::Document(_))));
}

#[test]
fn every_reason_to_skip_a_key_is_reported_with_its_id() {
    // 1,024 bits.
    let short = format!("{}A", "z".repeat(170));
    for (key, reason) in [
        (json!({"kid": "a", "kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), SkippedKeyReason::UnsupportedCurve),
        (json!({"kid": "a", "kty": "EC", "crv": "secp256k1"}), SkippedKeyReason::UnsupportedCurve),
        (json!({"kid": "a", "kty": "OKP", "crv": "X25519", "x": "AA"}), SkippedKeyReason::UnsupportedCurve),
        (json!({"kid": "a", "kty": "RSA", "n": short, "e": "AQAB"}), SkippedKeyReason::ShortRsaKey),
        (json!({"kid": "a", "kty": "RSA", "e": "AQAB"}), SkippedKeyReason::Malformed),
        (
            json!({"kid": "a", "kty": "RSA", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"}),
            SkippedKeyReason::UnsupportedAlgorithm,
        ),
        (json!({"kid": "a", "kty": "RSA", "key_ops": ["encrypt"]}), SkippedKeyReason::NotForSignatures),
    ] {
        let error = KeySet::from_jwks(&json!({"keys": [key]}).to_string()).unwrap_err().to_string();
        assert!(error.contains(&format!("key \"a\": {reason}")), "{key}: {error}");
    }
    let many = vec![json!({"kty": "oct", "kid": "s"}); MAX_KEYS_PER_DOCUMENT + 1];
    let error = KeySet::from_jwks(&json!({"keys": many}).to_string()).unwrap_err().to_string();
    assert!(error.ends_with("and 93 more)"), "{error}");
}

#[tokio::test]
async fn ed25519_is_another_name_of_eddsa() {
    let key = ed();
    let claims = serde_json::to_value(claims()).unwrap();
    let mut named = jwk(&key, Algorithm::EdDSA, None);
    named["alg"] = json!("Ed25519");
    let message = |alg: &str| {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let message =
            format!("{}.{}", BASE64.encode(json!({"alg": alg}).to_string()), BASE64.encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        format!("{message}.{signature}")
    };
    for set in [named, jwk(&key, Algorithm::EdDSA, None), jwk_without_alg(&key, Algorithm::EdDSA)] {
        for alg in ["Ed25519", "EdDSA"] {
            verified(accepting(std::slice::from_ref(&set)), &message(alg)).await;
        }
    }
}

#[test]
fn debug_output_contains_no_key_material() {
    let set = KeySet::default().with_secret(b"correct horse battery staple and more").unwrap();
    assert!(!format!("{set:?}").contains("99, 111"), "{set:?}");
}
