//! The HTTP API for backends as the `api` function serves it, with API keys from the configuration or from a secret of
//! Secrets Manager.
//!
//! Only a request with an API key waits for the secret or fails without it. A request whose key is unknown triggers one
//! more read of the secret, so a new key works immediately.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;
use handlers::api::{API_KEY_HEADER, ApiKeys, MessagingApi};
use handlers::app::MessagingApp;
use handlers::authorizer::TokenVerifier;
use http::{Request, Response, StatusCode};

use crate::config;
use crate::secrets::{CachedSecrets, SecretError, SecretVersions};

/// HTTP API for backends (`/v1/…`).
pub struct BackendApi {
    configured_api: MessagingApi,
    /// The same API with the keys of a secret; `None` if the configuration holds the keys.
    secret_keyed_api: Option<CachedSecrets<MessagingApi>>,
}

impl BackendApi {
    /// Creates the API over `app` for bearer tokens and the configured API `keys`.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { configured_api: MessagingApi::new(app, verifier, keys), secret_keyed_api: None }
    }

    /// Creates the API over `app` for bearer tokens and the API keys listed in the secret `arn`.
    #[must_use]
    pub fn with_secret_keys(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, client: Client, arn: String) -> Self {
        let tokens_only = MessagingApi::new(app.clone(), verifier.clone(), ApiKeys::default());
        let secret = CachedSecrets::new(client, vec![arn], SecretVersions::Current, app.clock.clone(), move |values| {
            let keys = config::parse_api_keys(&values.join(","))?;
            Ok(MessagingApi::new(app.clone(), verifier.clone(), keys))
        });
        Self { configured_api: tokens_only, secret_keyed_api: Some(secret) }
    }

    /// Handles one request (`/v1/…`).
    ///
    /// # Errors
    /// [`SecretError`] if the request has an API key and the secret's keys are unavailable; the key was not checked.
    pub async fn handle_request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SecretError> {
        let Some(secret) = self.secret_keyed_api.as_ref().filter(|_| request.headers().contains_key(API_KEY_HEADER))
        else {
            return Ok(self.configured_api.handle_request(request).await);
        };
        let response = secret.current_value().await?.handle_request(request.clone()).await;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        match secret.refreshed_value().await {
            Some(api) => Ok(api.handle_request(request).await),
            None => Ok(response),
        }
    }
}
