//! The HTTP API as the function serves it: its keys of backends may be a secret of Secrets Manager.
//!
//! Invariant: only a call with an API key waits for the secret, or fails without it. A key that is not known is looked for
//! once more, so that a new one works at once.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;
use handlers::api::{API_KEY_HEADER, ApiKeys, MessagingApi};
use handlers::app::MessagingApp;
use handlers::authorizer::TokenVerifier;
use http::{Request, Response, StatusCode};

use crate::config;
use crate::secrets::{CachedSecrets, SecretError, SecretVersions};

/// The HTTP API for backends.
pub struct BackendApi {
    configured_api: MessagingApi,
    /// The same API with the keys that stand elsewhere.
    secret_keyed_api: Option<CachedSecrets<MessagingApi>>,
}

impl BackendApi {
    /// The API over `app`, for bearers of tokens and holders of `keys`.
    #[must_use]
    pub const fn new(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { configured_api: MessagingApi::new(app, verifier, keys), secret_keyed_api: None }
    }

    /// The same, for bearers of tokens and holders of the keys that the secret `arn` lists.
    #[must_use]
    pub fn with_secret_keys(app: Arc<MessagingApp>, verifier: Arc<TokenVerifier>, client: Client, arn: String) -> Self {
        let given = MessagingApi::new(app.clone(), verifier.clone(), ApiKeys::default());
        let secret = CachedSecrets::new(client, vec![arn], SecretVersions::Current, app.clock.clone(), move |values| {
            let keys = config::parse_api_keys(&values.join(","))?;
            Ok(MessagingApi::new(app.clone(), verifier.clone(), keys))
        });
        Self { configured_api: given, secret_keyed_api: Some(secret) }
    }

    /// Answers one request (`/v1/…`).
    ///
    /// # Errors
    /// [`SecretError`] when the call brings an API key and the keys cannot be had: it says nothing about the key.
    pub async fn handle_request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SecretError> {
        let Some(secret) = self.secret_keyed_api.as_ref().filter(|_| request.headers().contains_key(API_KEY_HEADER))
        else {
            return Ok(self.configured_api.handle_request(request).await);
        };
        let answer = secret.current_value().await?.handle_request(request.clone()).await;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match secret.refreshed_value().await {
            Some(api) => Ok(api.handle_request(request).await),
            None => Ok(answer),
        }
    }
}
