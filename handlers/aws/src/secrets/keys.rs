//! HS256 secrets of Secrets Manager, and an identity provider's keys beside them, as one source of keys.
//!
//! Invariant: a token's algorithm says which of the two is asked, so that one that is away is nothing to the other's tokens.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use handlers::authorizer::{Algorithm, KeyError, KeySet, KeySource, VerificationKey};
use handlers::ports::{BoxError, Clock};
use jwks::HttpJwks;

use super::{Secrets, Versions};

/// Keys for HS256 tokens from secrets, and for all others from a provider.
pub struct SecretKeys {
    secrets: Secrets<KeySet>,
    provider: Option<HttpJwks>,
}

impl SecretKeys {
    /// The current and previous values of `arns`, each a secret; and `provider`, where there is one.
    #[must_use]
    pub fn new(client: Client, arns: Vec<String>, provider: Option<HttpJwks>, clock: Arc<dyn Clock>) -> Self {
        let secrets = Secrets::new(client, arns, Versions::CurrentAndPrevious, clock, |values| {
            values.iter().try_fold(KeySet::default(), |keys, value| {
                keys.with_secret(value.as_bytes()).map_err(|error| error.to_string())
            })
        });
        Self { secrets, provider }
    }
}

#[async_trait]
impl KeySource for SecretKeys {
    async fn keys(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Vec<Arc<VerificationKey>>, KeyError> {
        match (algorithm, &self.provider) {
            (Algorithm::HS256, _) => {
                let keys = self.secrets.made().await.map_err(|error| KeyError::Unavailable(BoxError::from(error)))?;
                Ok(keys.candidates(id, algorithm).cloned().collect())
            }
            (_, Some(provider)) => provider.keys(id, algorithm).await,
            (_, None) => Ok(Vec::new()),
        }
    }

    async fn keys_anew(&self, id: Option<&str>, algorithm: Algorithm) -> Vec<Arc<VerificationKey>> {
        match (algorithm, &self.provider) {
            (Algorithm::HS256, _) => {
                let keys = self.secrets.made_anew().await;
                keys.map(|keys| keys.candidates(id, algorithm).cloned().collect()).unwrap_or_default()
            }
            (_, Some(provider)) => provider.keys_anew(id, algorithm).await,
            (_, None) => Vec::new(),
        }
    }
}
