//! Who calls the HTTP API: the bearer of a token with the role `service` or `admin`, or the holder of an API key.
//!
//! Invariant: a call is answered within the tenant of its caller, and nothing but this file says which that is. Keys
//! are compared without telling by the time taken how much of one was right.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;
use crate::authorizer::{TokenError, TokenVerifier, bearer};
use crate::id::{TenantId, UserId};
use crate::identity::{Identity, Role};
use crate::ports::{Sender, Timestamp};

/// Shortest API key that is taken, in bytes: 16 random bytes in hexadecimal have 32, in base64 22.
pub const API_KEY_BYTES: usize = 20;
/// The header that carries an API key.
pub const API_KEY_HEADER: &str = "x-api-key";

const CHALLENGE: &str = "Bearer realm=\"twinway\"";
const INVALID_TOKEN: &str = "Bearer realm=\"twinway\", error=\"invalid_token\"";

/// A configured API key is too short to be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an API key must have at least {API_KEY_BYTES} bytes")]
pub struct ShortApiKey;

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
pub(super) struct Caller {
    pub tenant: TenantId,
    pub sender: Sender,
}

/// Everything that identifies callers.
pub(super) struct Callers {
    pub verifier: Arc<TokenVerifier>,
    pub keys: ApiKeys,
}

impl ApiKeys {
    /// The same keys and one more; its holder acts as the service `name` of `tenant`.
    ///
    /// # Errors
    /// [`ShortApiKey`] below [`API_KEY_BYTES`].
    pub fn with(mut self, secret: &str, tenant: TenantId, name: UserId) -> Result<Self, ShortApiKey> {
        if secret.len() < API_KEY_BYTES {
            return Err(ShortApiKey);
        }
        self.keys.push(ApiKey { secret: Box::from(secret.as_bytes()), tenant, name });
        Ok(self)
    }

    /// Looks at every key, so that the time taken does not tell which one was close.
    fn find(&self, presented: &[u8]) -> Option<&ApiKey> {
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

impl Callers {
    /// Identifies the caller. An API key counts before a token when both are there.
    pub(super) async fn identify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Problem> {
        if let Some(presented) = headers.get(API_KEY_HEADER) {
            return self.holder(presented.as_bytes());
        }
        let Some(token) = bearer(headers) else {
            return Err(Problem::challenge("send 'Authorization: Bearer' with a token, or 'X-Api-Key'", CHALLENGE));
        };
        match self.verifier.verify(token, now).await {
            Ok(identity) => service(identity),
            Err(TokenError::Keys(error)) => {
                tracing::warn!(error = %errors::chain(&error), "api call failed");
                Err(Problem::try_again("the keys that tokens are verified with are away"))
            }
            Err(refused) => {
                tracing::info!(token.error = refused.cause(), "api call refused");
                Err(Problem::challenge("the token is not good, or no longer", INVALID_TOKEN))
            }
        }
    }

    fn holder(&self, presented: &[u8]) -> Result<Caller, Problem> {
        let Some(key) = self.keys.find(presented) else {
            tracing::info!(token.error = "api_key", "api call refused");
            return Err(Problem::challenge("the API key is not known", CHALLENGE));
        };
        let sender = Sender { user: key.name.clone(), role: Role::Service };
        Ok(Caller { tenant: key.tenant.clone(), sender })
    }
}

fn service(identity: Identity) -> Result<Caller, Problem> {
    match identity.role {
        Role::Service | Role::Admin => {
            let sender = Sender { user: identity.user, role: identity.role };
            Ok(Caller { tenant: identity.tenant, sender })
        }
        Role::User => Err(Problem::role()),
    }
}
