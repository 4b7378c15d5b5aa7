//! Identity of the deployment that owns a namespace of Redis: the prefix in one database.
//!
//! Two deployments with one namespace would read each other's messages and reap each other's pods, so the second one is
//! rejected at its start. A deployment is identified by fingerprints of what verifies its tokens: each signing secret,
//! and the identity provider; a deployment of Lambda functions, which verify tokens themselves, by its API and stage.
//! It owns the namespace if it has one of the stored fingerprints, so a secret is rotated by
//! listing the old one in `auth.previous_secrets`.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use data_encoding::HEXLOWER;
use redis::Script;
use serde_json::Value;

use crate::config::{AuthConfig, JwksSource};
use crate::redis::{RedisClient, RedisClientError};

/// Key of the stored fingerprints. Its hash tag is the one of the leases.
pub(super) const NAMESPACE_KEY: &str = "{cluster}:namespace";
/// Maximum number of stored fingerprints; those that no pod has used for the longest time are removed first.
const MAX_FINGERPRINTS: usize = 64;
/// Bytes of a fingerprint: a collision is as unlikely as a guessed key of 128 bits.
const FINGERPRINT_BYTES: usize = 16;
/// Message that a signing secret signs for its fingerprint. It is not a token, so the fingerprint authorizes nothing.
const SECRET_MESSAGE: &[u8] = b"twinway namespace fingerprint 1";

static CLAIM_NAMESPACE_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("namespace/claim_namespace.lua")));

/// Fingerprints of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceIdentity {
    fingerprints: Vec<String>,
}

impl NamespaceIdentity {
    /// Returns the identity of the deployment with this configuration: a keyed fingerprint of each secret, current and
    /// previous, and one of the provider's address or of each key of a JWKS document.
    #[must_use]
    pub fn from_auth(auth: &AuthConfig) -> Self {
        let secrets = auth.secret.iter().chain(&auth.previous_secrets).map(|secret| {
            let tag = sign(&Key::new(HMAC_SHA256, secret.expose().as_bytes()), SECRET_MESSAGE);
            encode_fingerprint(tag.as_ref())
        });
        let sources = auth.jwks.iter().flat_map(provider_sources);
        let providers = sources.flat_map(|source| provider_fingerprints(auth, &source));
        Self { fingerprints: secrets.chain(providers).take(MAX_FINGERPRINTS).collect() }
    }

    /// Returns the identity of a deployment whose functions verify the clients: its API and stage.
    #[must_use]
    pub fn from_api(id: &str, stage: &str) -> Self {
        let fingerprint = digest(&SHA256, format!("api {id} {stage}").as_bytes());
        Self { fingerprints: vec![encode_fingerprint(fingerprint.as_ref())] }
    }

    /// Stores the fingerprints. Returns `false`, and stores nothing, when the namespace belongs to a deployment that
    /// has none of them.
    ///
    /// # Errors
    /// Returns [`RedisClientError`] when Redis fails. The fingerprints may have been stored.
    pub(super) async fn claim_namespace(&self, redis: &RedisClient) -> Result<bool, RedisClientError> {
        let mut arguments = vec![MAX_FINGERPRINTS.to_string()];
        arguments.extend(self.fingerprints.iter().cloned());
        redis.invoke_script(&CLAIM_NAMESPACE_SCRIPT, &[redis.prefixed_key(NAMESPACE_KEY)], &arguments).await
    }
}

/// Returns a fingerprint for each pair of issuer and audience, so that adding or removing one keeps the others.
fn provider_fingerprints(auth: &AuthConfig, source: &str) -> Vec<String> {
    let accepted = |values: &[String]| if values.is_empty() { vec![String::new()] } else { values.to_vec() };
    let audiences = accepted(&auth.audiences);
    let pairs = accepted(&auth.issuers).into_iter().flat_map(|issuer| {
        audiences.iter().map(move |audience| format!("{:?}", (&issuer, audience, source))).collect::<Vec<_>>()
    });
    pairs.map(|pair| encode_fingerprint(digest(&SHA256, pair.as_bytes()).as_ref())).collect()
}

/// Returns what identifies the provider: its address, whose keys change, or the keys of a document.
fn provider_sources(jwks: &JwksSource) -> Vec<String> {
    match jwks {
        JwksSource::Url(url) => vec![url.clone()],
        JwksSource::Document(text) => {
            let document: Value = serde_json::from_str(text).unwrap_or_default();
            document["keys"].as_array().map(|keys| keys.iter().map(Value::to_string).collect()).unwrap_or_default()
        }
    }
}

fn encode_fingerprint(bytes: &[u8]) -> String {
    HEXLOWER.encode(&bytes[..FINGERPRINT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::secret::Secret;

    fn auth(secret: Option<&str>, previous: &[&str], jwks: Option<JwksSource>) -> AuthConfig {
        AuthConfig {
            secret: secret.map(Secret::new),
            previous_secrets: previous.iter().map(|text| Secret::new(text)).collect(),
            jwks,
            ..Config::for_tests().auth
        }
    }

    fn share_a_fingerprint(first: &AuthConfig, second: &AuthConfig) -> bool {
        let (first, second) = (NamespaceIdentity::from_auth(first), NamespaceIdentity::from_auth(second));
        first.fingerprints.iter().any(|fingerprint| second.fingerprints.contains(fingerprint))
    }

    #[test]
    fn a_rotated_secret_keeps_the_identity_and_another_one_does_not() {
        let (old, rotated, new) =
            (auth(Some("old"), &[], None), auth(Some("new"), &["old"], None), auth(Some("new"), &[], None));
        assert!(share_a_fingerprint(&old, &rotated) && share_a_fingerprint(&rotated, &new));
        assert!(!share_a_fingerprint(&old, &new));
    }

    #[test]
    fn a_provider_is_identified_by_its_address_and_audience_or_by_any_of_its_keys() {
        let url = || Some(JwksSource::Url("https://idp.example/jwks".to_owned()));
        let document = |keys: &str| Some(JwksSource::Document(format!(r#"{{"keys":[{keys}]}}"#)));
        let with_audiences = |audiences: &[&str]| AuthConfig {
            audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            ..auth(None, &[], url())
        };
        let (one, two, other) = (with_audiences(&["one"]), with_audiences(&["one", "two"]), with_audiences(&["other"]));
        assert!(share_a_fingerprint(&one, &two) && !share_a_fingerprint(&one, &other));
        assert!(!share_a_fingerprint(&one, &with_audiences(&[])));
        let [a, b, c] = [r#"{"kid":"a"}"#, r#"{"kid":"a"},{"kid":"b"}"#, r#"{"kid":"c"}"#].map(document);
        let [a, b, c] = [a, b, c].map(|keys| auth(None, &[], keys));
        assert!(share_a_fingerprint(&a, &b) && !share_a_fingerprint(&a, &c));
    }

    #[test]
    fn a_fingerprint_contains_no_secret() {
        let identity = NamespaceIdentity::from_auth(&auth(Some("the-secret"), &[], None));
        assert_eq!(identity.fingerprints.len(), 1);
        assert_eq!(identity.fingerprints[0].len(), 2 * FINGERPRINT_BYTES);
        assert!(!format!("{identity:?}").contains("the-secret"));
    }
}
