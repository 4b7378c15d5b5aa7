//! Key source that combines HS256 secrets of Secrets Manager with an identity provider's keys.
//!
//! The token's algorithm selects the source, so an outage of one source does not affect tokens of the other.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use handlers::authorizer::{Algorithm, KeySet, KeySource, KeySourceError, VerificationKey};
use handlers::ports::{BoxError, Clock};
use jwks::HttpJwks;

use super::{CachedSecrets, SecretVersions};

/// Keys of HS256 tokens from secrets, and keys of all other algorithms from an identity provider.
pub struct SecretKeys {
    secrets: CachedSecrets<KeySet>,
    provider: Option<HttpJwks>,
}

impl SecretKeys {
    /// Creates a source over the current and previous values of `arns`, each one HS256 secret, and an optional
    /// `provider`.
    #[must_use]
    pub fn new(client: Client, arns: Vec<String>, provider: Option<HttpJwks>, clock: Arc<dyn Clock>) -> Self {
        let secrets = CachedSecrets::new(client, arns, SecretVersions::CurrentAndPrevious, clock, |values| {
            values.iter().try_fold(KeySet::default(), |keys, value| {
                keys.with_secret(value.as_bytes()).map_err(|error| error.to_string())
            })
        });
        Self { secrets, provider }
    }
}

#[async_trait]
impl KeySource for SecretKeys {
    async fn find_keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<Arc<VerificationKey>>, KeySourceError> {
        match (algorithm, &self.provider) {
            (Algorithm::HS256, _) => {
                let keys = self
                    .secrets
                    .current_value()
                    .await
                    .map_err(|error| KeySourceError::Unavailable(BoxError::from(error)))?;
                Ok(keys.candidate_keys(id, algorithm).cloned().collect())
            }
            (_, Some(provider)) => provider.find_keys(id, algorithm).await,
            (_, None) => Ok(Vec::new()),
        }
    }

    async fn refresh_keys(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>> {
        match (algorithm, &self.provider) {
            (Algorithm::HS256, _) => {
                let keys = self.secrets.refreshed_value().await;
                keys.map(|keys| keys.candidate_keys(id, algorithm).cloned().collect()).unwrap_or_default()
            }
            (_, Some(provider)) => provider.refresh_keys(id, algorithm).await,
            (_, None) => Vec::new(),
        }
    }
}
