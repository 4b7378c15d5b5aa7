//! Who calls the HTTP API: the bearer of a token with the role `service` or `admin`, or the holder of an API key.
//!
//! Invariant: a call is answered within the tenant of its caller, and nothing but this file says which that is. Keys
//! are compared without telling by the time taken how much of one was right.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use subtle::{Choice, ConstantTimeEq};

use super::problem::ProblemDetails;
use crate::authorizer::{TokenError, TokenVerifier, bearer_token};
use crate::id::{TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::{MessageSender, Timestamp};

/// Shortest API key that is taken, in bytes: 16 random bytes in hexadecimal have 32, in base64 22.
pub const MIN_API_KEY_BYTES: usize = 20;
/// The header that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";

const BEARER_CHALLENGE: &str = "Bearer realm=\"twinway\"";
const INVALID_TOKEN_CHALLENGE: &str = "Bearer realm=\"twinway\", error=\"invalid_token\"";

/// A configured API key is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an API key must have at least {MIN_API_KEY_BYTES} bytes")]
pub struct ShortApiKeyError;

struct ApiKey {
    secret: Box<[u8]>,
    tenant: TenantId,
    name: UserId,
}

/// The configured API keys. `Debug` shows their names.
#[derive(Default)]
pub struct ApiKeys {
    keys: Vec<ApiKey>,
}

/// Who called, as far as the endpoints need to know.
#[derive(Debug, Clone)]
pub(super) struct ApiCaller {
    pub tenant: TenantId,
    pub sender: MessageSender,
}

/// Everything that identifies callers.
pub(super) struct ApiAuthenticator {
    pub verifier: Arc<TokenVerifier>,
    pub keys: ApiKeys,
}

impl ApiKeys {
    /// The same keys and one more; its holder acts as the service `name` of `tenant`.
    ///
    /// # Errors
    /// [`ShortApiKeyError`] below [`MIN_API_KEY_BYTES`].
    pub fn with_key(mut self, secret: &str, tenant: TenantId, name: UserId) -> Result<Self, ShortApiKeyError> {
        if secret.len() < MIN_API_KEY_BYTES {
            return Err(ShortApiKeyError);
        }
        self.keys.push(ApiKey { secret: Box::from(secret.as_bytes()), tenant, name });
        Ok(self)
    }

    /// Looks at every key, so that the time taken does not tell which one was close.
    fn find_key(&self, presented: &[u8]) -> Option<&ApiKey> {
        self.keys.iter().fold(None, |found, key| {
            let same: Choice = key.secret.ct_eq(presented);
            if bool::from(same) { Some(key) } else { found }
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

impl ApiAuthenticator {
    /// Identifies the caller. An API key counts before a token when both are there.
    pub(super) async fn authenticate_request(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
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
        match self.verifier.verify(token, now).await {
            Ok(identity) => caller_from_identity(identity),
            Err(TokenError::KeysUnavailable(error)) => {
                tracing::warn!(error = %errors::chain(&error), "api call failed");
                Err(ProblemDetails::retry_later("the keys that tokens are verified with are away"))
            }
            Err(refused) => {
                tracing::info!(token.error = refused.reason_code(), "api call refused");
                Err(ProblemDetails::authentication_required(
                    "the token is not good, or no longer",
                    INVALID_TOKEN_CHALLENGE,
                ))
            }
        }
    }

    fn authenticate_key(&self, presented: &[u8]) -> Result<ApiCaller, ProblemDetails> {
        let Some(key) = self.keys.find_key(presented) else {
            tracing::info!(token.error = "api_key", "api call refused");
            return Err(ProblemDetails::authentication_required("the API key is not known", BEARER_CHALLENGE));
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
