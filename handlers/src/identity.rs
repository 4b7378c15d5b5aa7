//! Who is speaking.
//!
//! The authorizer verifies the token once, at connect. What it found travels as the authorizer context of every later
//! event, on API Gateway and in the shim, so that no handler reads a store to learn who speaks.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{InvalidIdError, TenantId, UserId};

/// What a connection or an API caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Writes to its own conversation and to rooms it joined.
    User,
    /// Reads every conversation and writes everywhere.
    Admin,
    /// A backend that pushes through the HTTP API.
    Service,
}

/// A verified caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose deployment the caller belongs to.
    pub tenant: TenantId,
    /// Who it is: the token's `sub`.
    pub user: UserId,
    /// What it may do.
    pub role: Role,
    /// When its token is no longer good, leeway included, in seconds since 1970; `None` for tokens without an end.
    pub expires_at: Option<i64>,
}

/// Why an authorizer context names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentityError {
    /// A field is not there or has another type.
    #[error("the authorizer context has no usable '{0}'")]
    Missing(&'static str),
    /// A field is there, but not an identifier.
    #[error("the authorizer context's '{field}' is refused")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        source: InvalidIdError,
    },
}

/// The context's key of [`Identity::user`].
pub const USER_KEY: &str = "userId";
/// The context's key of [`Identity::role`].
pub const ROLE_KEY: &str = "role";
/// The context's key of [`Identity::tenant`].
pub const TENANT_KEY: &str = "tenant";
/// The context's key of [`Identity::expires_at`].
pub const EXPIRY_KEY: &str = "exp";

impl Role {
    /// Reads the token's or the context's word for a role.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "user" => Some(Self::User),
            "admin" => Some(Self::Admin),
            "service" => Some(Self::Service),
            _ => None,
        }
    }

    /// The word for it.
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
    /// The authorizer context that carries this identity: strings only, because API Gateway may turn every value into
    /// one (`$context.authorizer.*` in the API Gateway guide).
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

    /// Reads what [`Identity::to_context`] wrote, also after a gateway turned `exp` into a number.
    ///
    /// # Errors
    /// [`InvalidIdentityError`] when a field is absent or no identifier: the API was deployed without this application's
    /// authorizer.
    pub fn from_context(context: &HashMap<String, Value>) -> Result<Self, InvalidIdentityError> {
        let expires_at =
            context.get(EXPIRY_KEY).and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
        Self::from_fields(|key| context.get(key).and_then(Value::as_str), expires_at)
    }

    /// Reads the fields of a context in another form: `field` gives the text under a key.
    ///
    /// # Errors
    /// As [`Identity::from_context`].
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
    fn the_context_reads_back() {
        assert_eq!(Identity::from_context(&alice().to_context()), Ok(alice()));
    }

    #[test]
    fn a_numeric_expiry_is_read_too() {
        let mut context = alice().to_context();
        context.insert(EXPIRY_KEY.to_owned(), Value::from(1_900_000_000));
        assert_eq!(Identity::from_context(&context), Ok(alice()));
    }

    #[test]
    fn a_missing_or_foreign_field_is_named() {
        let mut context = alice().to_context();
        context.insert(ROLE_KEY.to_owned(), Value::from("root"));
        assert_eq!(Identity::from_context(&context), Err(InvalidIdentityError::Missing(ROLE_KEY)));
        context.remove(USER_KEY);
        assert_eq!(Identity::from_context(&context), Err(InvalidIdentityError::Missing(USER_KEY)));
    }
}
