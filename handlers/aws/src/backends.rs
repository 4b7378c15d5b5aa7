//! The HTTP API as the function serves it: its keys of backends may be a secret of Secrets Manager.
//!
//! Invariant: only a call with an API key waits for the secret, or fails without it. A key that is not known is looked for
//! once more, so that a new one works at once.

use std::sync::Arc;

use aws_sdk_secretsmanager::Client;
use bytes::Bytes;
use handlers::api::{API_KEY_HEADER, Api, ApiKeys};
use handlers::app::App;
use handlers::authorizer::TokenVerifier;
use http::{Request, Response, StatusCode};

use crate::config;
use crate::secrets::{SecretError, Secrets, Versions};

/// The HTTP API for backends.
pub struct BackendApi {
    given: Api,
    /// The same API with the keys that stand elsewhere.
    with_secret: Option<Secrets<Api>>,
}

impl BackendApi {
    /// The API over `app`, for bearers of tokens and holders of `keys`.
    #[must_use]
    pub const fn new(app: Arc<App>, verifier: Arc<TokenVerifier>, keys: ApiKeys) -> Self {
        Self { given: Api::new(app, verifier, keys), with_secret: None }
    }

    /// The same, for bearers of tokens and holders of the keys that the secret `arn` lists.
    #[must_use]
    pub fn with_secret(app: Arc<App>, verifier: Arc<TokenVerifier>, client: Client, arn: String) -> Self {
        let given = Api::new(app.clone(), verifier.clone(), ApiKeys::default());
        let secret = Secrets::new(client, vec![arn], Versions::Current, app.clock.clone(), move |values| {
            let keys = config::api_keys(&values.join(","))?;
            Ok(Api::new(app.clone(), verifier.clone(), keys))
        });
        Self { given, with_secret: Some(secret) }
    }

    /// Answers one request (`/v1/…`).
    ///
    /// # Errors
    /// [`SecretError`] when the call brings an API key and the keys cannot be had: it says nothing about the key.
    pub async fn handle(&self, request: Request<Bytes>) -> Result<Response<Bytes>, SecretError> {
        let Some(secret) = self.with_secret.as_ref().filter(|_| request.headers().contains_key(API_KEY_HEADER)) else {
            return Ok(self.given.handle(request).await);
        };
        let answer = secret.made().await?.handle(request.clone()).await;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        match secret.made_anew().await {
            Some(api) => Ok(api.handle(request).await),
            None => Ok(answer),
        }
    }
}
