//! Tokens for tests.

use std::time::Duration;

use handlers::authorizer::{JwtClaims, mint_hs256};
use handlers::identity::Role;

/// Claims of a test token.
#[derive(Debug, Clone)]
pub struct TokenClaims {
    /// User id.
    pub user: String,
    pub role: Role,
    /// Tenant id.
    pub tenant: String,
    /// Lifetime from the time of signing.
    pub life: Duration,
    /// Time since its issue (`iat`).
    pub age: Duration,
    /// Patterns of rooms and topics; `None` for no such claim.
    pub channels: Option<Vec<String>>,
}

impl TokenClaims {
    /// Returns the claims of a user.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::role(name, Role::User)
    }

    /// Returns the claims of an admin.
    #[must_use]
    pub fn admin(name: &str) -> Self {
        Self::role(name, Role::Admin)
    }

    /// Returns the claims of a backend.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self::role(name, Role::Service)
    }

    /// Sets the tenant.
    #[must_use]
    pub fn in_tenant(self, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..self }
    }

    /// Sets the lifetime.
    #[must_use]
    pub fn with_lifetime(self, life: Duration) -> Self {
        Self { life, ..self }
    }

    /// Sets the time since the token was issued.
    #[must_use]
    pub fn with_age(self, age: Duration) -> Self {
        Self { age, ..self }
    }

    /// Sets the patterns of the rooms and topics that the user may join.
    #[must_use]
    pub fn with_channels(self, patterns: &[&str]) -> Self {
        Self { channels: Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect()), ..self }
    }

    fn role(name: &str, role: Role) -> Self {
        Self {
            user: name.to_owned(),
            role,
            tenant: "default".to_owned(),
            life: Duration::from_secs(3600),
            age: Duration::ZERO,
            channels: None,
        }
    }
}

/// Signs claims with HS256.
#[must_use]
pub fn sign_token(secret: &str, claims: &TokenClaims) -> String {
    let now = system_clock::current_time();
    let jwt_claims = JwtClaims {
        sub: claims.user.clone(),
        role: claims.role,
        tenant: claims.tenant.clone(),
        exp: Some(now.plus(claims.life).unix_seconds()),
        iat: Some(now.unix_seconds().saturating_sub_unsigned(claims.age.as_secs())),
        iss: None,
        aud: None,
        channels: claims.channels.clone(),
    };
    mint_hs256(secret.as_bytes(), &jwt_claims).expect("the secret is long enough")
}
