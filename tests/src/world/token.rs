//! Tokens of whoever a test needs.

use std::time::Duration;

use handlers::authorizer::{JwtClaims, mint_hs256};
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;

/// What a token says.
#[derive(Debug, Clone)]
pub struct TokenClaims {
    /// Whom it names.
    pub user: String,
    /// In which role.
    pub role: Role,
    /// Of which tenant.
    pub tenant: String,
    /// How long it is good from now on.
    pub life: Duration,
}

impl TokenClaims {
    /// A user's.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::role(name, Role::User)
    }

    /// An admin's.
    #[must_use]
    pub fn admin(name: &str) -> Self {
        Self::role(name, Role::Admin)
    }

    /// A backend's.
    #[must_use]
    pub fn service(name: &str) -> Self {
        Self::role(name, Role::Service)
    }

    /// The same within a tenant.
    #[must_use]
    pub fn in_tenant(self, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..self }
    }

    /// The same for so long.
    #[must_use]
    pub fn with_lifetime(self, life: Duration) -> Self {
        Self { life, ..self }
    }

    fn role(name: &str, role: Role) -> Self {
        Self { user: name.to_owned(), role, tenant: "default".to_owned(), life: Duration::from_secs(3600) }
    }
}

/// Signs a grant with HS256.
#[must_use]
pub fn sign_token(secret: &str, grant: &TokenClaims) -> String {
    let now = system_clock::current_time();
    let claims = JwtClaims {
        sub: UserId::parse(&grant.user).expect("tests name users by valid ids"),
        role: grant.role,
        tenant: TenantId::parse(&grant.tenant).expect("tests name tenants by valid ids"),
        exp: Some(now.plus(grant.life).unix_seconds()),
        iat: Some(now.unix_seconds()),
        iss: None,
        aud: None,
    };
    mint_hs256(secret.as_bytes(), &claims).expect("the secret is long enough")
}
