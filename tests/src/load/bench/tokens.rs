//! Tokens for the application under test, signed with a secret that exists for benchmarks alone.
//!
//! Every connection of a contest is a user of its own, so that whatever the application keeps for a user is measured too.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use handlers::authorizer::{JwtClaims, mint_hs256};
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;

/// What the tokens are signed with. Public on purpose: it opens nothing but `bench_server`.
pub const SECRET: &str = "bench-secret-bench-secret-bench-secret";

/// Users with a token: as many as the largest contest has connections.
const USERS: usize = 10_000;

/// Admins with a token: as many as a contest has senders.
const ADMINS: usize = 16;

/// 2100-01-01T00:00:00Z in seconds since 1970: no run outlives it, and no clock is needed to write it.
const EXPIRES: i64 = 4_102_444_800;

/// Writes `user.tokens` and `admin.tokens` into `folder`, one token a line.
///
/// # Errors
/// When the files cannot be written.
pub fn write(folder: &Path) -> anyhow::Result<()> {
    let mut users = String::new();
    for number in 0..USERS {
        let _ = writeln!(users, "{}", token(&format!("bench-{number}"), Role::User)?);
    }
    std::fs::write(folder.join("user.tokens"), users).context("writing the users' tokens")?;
    let mut admins = String::new();
    for number in 0..ADMINS {
        let _ = writeln!(admins, "{}", token(&format!("bench-admin-{number}"), Role::Admin)?);
    }
    std::fs::write(folder.join("admin.tokens"), admins).context("writing the admins' tokens")
}

fn token(user: &str, role: Role) -> anyhow::Result<String> {
    let claims = JwtClaims {
        sub: UserId::parse(user)?,
        role,
        tenant: TenantId::parse("default")?,
        exp: Some(EXPIRES),
        iat: None,
        iss: None,
        aud: None,
    };
    Ok(mint_hs256(SECRET.as_bytes(), &claims)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_token_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let users = std::fs::read_to_string(folder.path().join("user.tokens")).unwrap();
        let distinct: std::collections::HashSet<&str> = users.lines().collect();
        assert_eq!(distinct.len(), USERS);
        assert!(distinct.iter().all(|token| token.split('.').count() == 3));
        assert!(folder.path().join("admin.tokens").exists());
    }
}
