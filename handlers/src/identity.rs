//! The verified identity of a caller.
//!
//! The authorizer verifies the token once, at connect, and returns the identity as the authorizer context. API Gateway
//! and the server add this context to every later event, so handlers need no store to identify the caller.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{InvalidIdError, TenantId, UserId};

/// Permissions of a connection or an API caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes to the conversation of the user and to joined rooms.
    User,
    /// Reads every conversation and writes everywhere.
    Admin,
    /// A backend that pushes through the HTTP API.
    Service,
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub tenant: TenantId,
    /// The token's `sub`.
    pub user: UserId,
    pub role: Role,
    /// Expiry of the token, leeway included, in seconds since 1970; `None` for tokens without `exp`.
    pub expires_at: Option<i64>,
}

/// An invalid authorizer context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentityError {
    /// A field is missing, or is not a string.
    #[error("the authorizer context has no valid '{0}'")]
    Missing(&'static str),
    /// A field is not a valid identifier.
    #[error("the authorizer context's '{field}' is invalid")]
    Invalid {
        /// Key of the field.
        field: &'static str,
        source: InvalidIdError,
    },
}

/// Context key of [`Identity::user`].
pub const USER_KEY: &str = "userId";
/// Context key of [`Identity::role`].
pub const ROLE_KEY: &str = "role";
/// Context key of [`Identity::tenant`].
pub const TENANT_KEY: &str = "tenant";
/// Context key of [`Identity::expires_at`].
pub const EXPIRY_KEY: &str = "exp";

impl Role {
    /// Parses a role as written in tokens and contexts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "admin" => Some(Self::Admin),
            "service" => Some(Self::Service),
            _ => None,
        }
    }

    /// Returns the role as written in tokens and contexts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }
}

impl Identity {
    /// Returns the authorizer context of this identity. All values are strings, because API Gateway may convert every
    /// value to a string (`$context.authorizer.*` in the API Gateway guide).
    #[must_use]
    pub fn to_context(&self) -> HashMap<String, Value> {
        let mut context = HashMap::from([
            (USER_KEY.to_owned(), Value::from(self.user.as_str())),
            (ROLE_KEY.to_owned(), Value::from(self.role.as_str())),
            (TENANT_KEY.to_owned(), Value::from(self.tenant.as_str())),
        ]);
        if let Some(expires_at) = self.expires_at {
            context.insert(EXPIRY_KEY.to_owned(), Value::from(expires_at.to_string()));
        }
        context
    }

    /// Parses a context written by [`Identity::to_context`]. `exp` may be a number, because a gateway may convert it.
    ///
    /// # Errors
    /// [`InvalidIdentityError`] if a field is missing or not a valid identifier: the API is deployed without this
    /// application's authorizer.
    pub fn from_context(context: &HashMap<String, Value>) -> Result<Self, InvalidIdentityError> {
        let expires_at =
            context.get(EXPIRY_KEY).and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
        Self::from_fields(|key| context.get(key).and_then(Value::as_str), expires_at)
    }

    /// Parses a context from another representation: `field` returns the text of a key.
    ///
    /// # Errors
    /// The same as [`Identity::from_context`].
    pub fn from_fields<'v>(
        field: impl Fn(&str) -> Option<&'v str>,
        expires_at: Option<i64>,
    ) -> Result<Self, InvalidIdentityError> {
        let text = |key| field(key).ok_or(InvalidIdentityError::Missing(key));
        let user = UserId::parse(text(USER_KEY)?)
            .map_err(|source| InvalidIdentityError::Invalid { field: USER_KEY, source })?;
        let role = Role::parse(text(ROLE_KEY)?).ok_or(InvalidIdentityError::Missing(ROLE_KEY))?;
        let tenant = TenantId::parse(text(TENANT_KEY)?)
            .map_err(|source| InvalidIdentityError::Invalid { field: TENANT_KEY, source })?;
        Ok(Self { tenant, user, role, expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity {
            tenant: TenantId::default_tenant(),
            user: UserId::parse("alice").unwrap(),
            role: Role::User,
            expires_at: Some(1_900_000_000),
        }
    }

    #[test]
    fn the_context_round_trips() {
        assert_eq!(Identity::from_context(&alice().to_context()), Ok(alice()));
    }

    #[test]
    fn a_numeric_expiry_is_parsed() {
        let mut context = alice().to_context();
        context.insert(EXPIRY_KEY.to_owned(), Value::from(1_900_000_000));
        assert_eq!(Identity::from_context(&context), Ok(alice()));
    }

    #[test]
    fn the_error_names_a_missing_or_invalid_field() {
        let mut context = alice().to_context();
        context.insert(ROLE_KEY.to_owned(), Value::from("root"));
        assert_eq!(Identity::from_context(&context), Err(InvalidIdentityError::Missing(ROLE_KEY)));
        context.remove(USER_KEY);
        assert_eq!(Identity::from_context(&context), Err(InvalidIdentityError::Missing(USER_KEY)));
    }
}
