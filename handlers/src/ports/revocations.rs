//! The store of revocations: which tokens are rejected before they expire.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StoreError, Timestamp};
use crate::id::{TenantId, TokenId, UserId};

/// Context key of [`TokenIssue::issued_at`].
const ISSUED_AT_KEY: &str = "iat";
/// Context key of [`TokenIssue::token`].
const TOKEN_ID_KEY: &str = "jti";

/// The claims of a token that a revocation refers to, in addition to its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenIssue {
    /// `iat`, in seconds since 1970.
    pub issued_at: Option<i64>,
    /// The id of `jti`; `None` for a token without one.
    pub token: Option<TokenId>,
}

/// Tokens that a revocation rejects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RevokedSubject {
    /// The tokens of a user.
    User(UserId),
    /// One token, by its `jti`.
    Token(TokenId),
}

/// Rejection of tokens of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub tenant: TenantId,
    pub subject: RevokedSubject,
    /// Tokens issued before this time are rejected, in seconds since 1970, and tokens without `iat`.
    pub issued_before: i64,
    /// End of the revocation. It should be later than the expiry of every token that it rejects.
    pub expires_at: Timestamp,
}

impl TokenIssue {
    /// Adds the claims to an authorizer context, as strings.
    pub(crate) fn extend_context(&self, context: &mut HashMap<String, Value>) {
        let issued_at = self.issued_at.map(|seconds| (ISSUED_AT_KEY, seconds.to_string()));
        let token = self.token.as_ref().map(|token| (TOKEN_ID_KEY, token.to_string()));
        context.extend(issued_at.into_iter().chain(token).map(|(key, text)| (key.to_owned(), Value::from(text))));
    }

    /// Reads the claims from an authorizer context. `iat` may be a number, because a gateway may convert it.
    pub(crate) fn from_context(context: &HashMap<String, Value>) -> Self {
        let issued_at = context.get(ISSUED_AT_KEY);
        let token = context.get(TOKEN_ID_KEY).and_then(Value::as_str);
        Self {
            issued_at: issued_at.and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok())),
            token: token.and_then(|token| TokenId::parse(token).ok()),
        }
    }
}

impl Revocation {
    /// Returns whether a token with its subject is rejected at time `now`.
    #[must_use]
    pub fn rejects(&self, issue: &TokenIssue, now: Timestamp) -> bool {
        let covers_issue = match &self.subject {
            RevokedSubject::User(_) => issue.issued_at.is_none_or(|issued_at| issued_at < self.issued_before),
            RevokedSubject::Token(token) => issue.token.as_ref() == Some(token),
        };
        covers_issue && now < self.expires_at
    }
}

impl RevokedSubject {
    /// Returns a text that is unique within a tenant, for keys of stores.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::User(user) => format!("user/{user}"),
            Self::Token(token) => format!("token/{token}"),
        }
    }
}

/// Revocations of all tenants.
///
/// *Consistency*: a read that starts after a write returned sees that write. *Expiry*: an expired revocation is absent,
/// whether or not it was already deleted.
///
/// ```
/// # use handlers::id::{TenantId, UserId};
/// # use handlers::memory::MemoryRevocations;
/// # use handlers::ports::{Revocation, RevocationStore, RevokedSubject, Timestamp, TokenIssue};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (store, tenant) = (MemoryRevocations::default(), TenantId::default_tenant());
/// let alice = RevokedSubject::User(UserId::parse("alice")?);
/// let expires_at = Timestamp(1_800_000_000_000);
/// let revocation = Revocation { tenant: tenant.clone(), subject: alice.clone(), issued_before: 1_795_000_000, expires_at };
/// store.put_revocation(&revocation).await?;
///
/// let found = store.find_revocation(&tenant, &alice).await?.ok_or("it was written")?;
/// let old = TokenIssue { issued_at: Some(1_794_999_999), token: None };
/// assert!(found.rejects(&old, Timestamp(1_795_000_000_000)));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Writes a revocation and returns once it is durable. Replaces an existing one of the same subject.
    async fn put_revocation(&self, revocation: &Revocation) -> Result<(), StoreError>;

    /// Returns the revocation of a subject, or `None` if there is none.
    async fn find_revocation(
        &self,
        tenant: &TenantId,
        subject: &RevokedSubject,
    ) -> Result<Option<Revocation>, StoreError>;

    /// Deletes the revocation of a subject. Returns `false` if there was none.
    async fn delete_revocation(&self, tenant: &TenantId, subject: &RevokedSubject) -> Result<bool, StoreError>;
}
