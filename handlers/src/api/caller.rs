//! Authentication of HTTP API callers: a token with the role `service` or `admin`, or an API key.
//!
//! Only this module determines the tenant of a request. API keys are compared in constant time.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use subtle::{Choice, ConstantTimeEq};

use super::problem::ProblemDetails;
use crate::app::MessagingApp;
use crate::authorizer::{TokenError, TokenVerifier, VerifiedToken, bearer_token, is_repetitive};
use crate::id::{TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::MessageSender;

/// Shortest accepted API key, in bytes. 16 random bytes have 32 characters in hexadecimal and 22 in base64.
pub const MIN_API_KEY_BYTES: usize = 20;
/// Header that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";

const BEARER_CHALLENGE: &str = "Bearer realm=\"twinway\"";
const INVALID_TOKEN_CHALLENGE: &str = "Bearer realm=\"twinway\", error=\"invalid_token\"";

/// A configured API key can be guessed: it is shorter than [`MIN_API_KEY_BYTES`], or repeats few characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key must have at least {MIN_API_KEY_BYTES} bytes, not a few characters repeated; `openssl rand -hex 20` \
     generates one"
)]
pub struct WeakApiKeyError;

struct BackendKey {
    secret: Box<[u8]>,
    tenant: TenantId,
    name: UserId,
}

/// The configured API keys. `Debug` shows only their names.
#[derive(Default)]
pub struct ApiKeys {
    keys: Vec<BackendKey>,
}

/// Authenticated caller.
#[derive(Debug, Clone)]
pub struct ApiCaller {
    pub(super) tenant: TenantId,
    pub(super) sender: MessageSender,
}

/// Authenticates callers.
pub(super) struct ApiAuthenticator {
    pub verifier: Arc<TokenVerifier>,
    pub keys: ApiKeys,
}

/// Checks the length and the variety of an API key.
///
/// # Errors
/// [`WeakApiKeyError`].
pub fn check_api_key(secret: &str) -> Result<(), WeakApiKeyError> {
    let weak = secret.len() < MIN_API_KEY_BYTES || is_repetitive(secret.as_bytes());
    if weak { Err(WeakApiKeyError) } else { Ok(()) }
}

impl ApiKeys {
    /// Adds a key, whose holder acts as the service `name` of `tenant`.
    ///
    /// # Errors
    /// [`WeakApiKeyError`] if the key is shorter than [`MIN_API_KEY_BYTES`] or repeats few characters.
    pub fn with_key(mut self, secret: &str, tenant: TenantId, name: UserId) -> Result<Self, WeakApiKeyError> {
        check_api_key(secret)?;
        self.keys.push(BackendKey { secret: Box::from(secret.as_bytes()), tenant, name });
        Ok(self)
    }

    /// Compares every key, so that the duration does not reveal a partial match.
    fn find_key(&self, presented: &[u8]) -> Option<&BackendKey> {
        self.keys.iter().fold(None, |found, key| {
            let equal: Choice = key.secret.ct_eq(presented);
            if bool::from(equal) { Some(key) } else { found }
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

impl ApiAuthenticator {
    /// Authenticates a request. An API key takes precedence over a token.
    pub(super) async fn authenticate_request(
        &self,
        headers: &HeaderMap,
        app: &MessagingApp,
    ) -> Result<ApiCaller, ProblemDetails> {
        if let Some(presented) = headers.get(API_KEY_HEADER) {
            return self.authenticate_key(presented.as_bytes());
        }
        let Some(token) = bearer_token(headers) else {
            return Err(ProblemDetails::authentication_required(
                "send 'Authorization: Bearer' with a token, or 'X-Api-Key'",
                BEARER_CHALLENGE,
            ));
        };
        match self.verifier.verify_token(token, app.clock.now()).await {
            Ok(VerifiedToken { identity, issue, .. }) => {
                if app.is_revoked(&identity, &issue).await? {
                    tracing::info!(token.error = "revoked", "api request rejected");
                    return Err(ProblemDetails::authentication_required(
                        "the token is revoked",
                        INVALID_TOKEN_CHALLENGE,
                    ));
                }
                caller_from_identity(identity)
            }
            Err(TokenError::KeysUnavailable(error)) => {
                tracing::warn!(error = %errors::chain(&error), "api request failed");
                Err(ProblemDetails::retry_later("the token verification keys are unavailable"))
            }
            Err(error) => {
                tracing::info!(token.error = error.reason_code(), "api request rejected");
                Err(ProblemDetails::authentication_required(
                    "the token is invalid or has expired",
                    INVALID_TOKEN_CHALLENGE,
                ))
            }
        }
    }

    fn authenticate_key(&self, presented: &[u8]) -> Result<ApiCaller, ProblemDetails> {
        let Some(key) = self.keys.find_key(presented) else {
            tracing::info!(token.error = "api_key", "api request rejected");
            return Err(ProblemDetails::authentication_required("the API key is unknown", BEARER_CHALLENGE));
        };
        let sender = MessageSender { user: key.name.clone(), role: Role::Service };
        Ok(ApiCaller { tenant: key.tenant.clone(), sender })
    }
}

fn caller_from_identity(identity: Identity) -> Result<ApiCaller, ProblemDetails> {
    match identity.role {
        Role::Service | Role::Admin => {
            let sender = MessageSender { user: identity.user, role: identity.role };
            Ok(ApiCaller { tenant: identity.tenant, sender })
        }
        Role::User => Err(ProblemDetails::insufficient_role()),
    }
}
