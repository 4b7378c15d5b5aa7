//! Tokens for the application under test, signed with a secret that only benchmarks use.
//!
//! Every connection of a comparison is a separate user, so that the state per user is measured too.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use handlers::authorizer::{JwtClaims, mint_hs256};
use handlers::identity::Role;
use system_clock::current_time;

/// HS256 secret of the tokens. Public on purpose: only `bench_server` accepts it.
pub const SECRET: &str = "bench-secret-bench-secret-bench-secret";

/// Users with a token: the number of connections of the largest comparison.
const USERS: usize = 10_000;

/// Admins with a token: the largest number of senders of a comparison.
const ADMINS: usize = 16;

/// Lifetime of the tokens: longer than any run.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Writes `user.tokens` and `admin.tokens` into `folder`, one token per line.
///
/// # Errors
/// A file cannot be written.
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
        sub: user.to_owned(),
        role,
        tenant: "default".to_owned(),
        exp: Some(current_time().plus(LIFETIME).unix_seconds()),
        iat: None,
        iss: None,
        aud: None,
        channels: None,
    };
    Ok(mint_hs256(SECRET.as_bytes(), &claims)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_distinct_token() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let users = std::fs::read_to_string(folder.path().join("user.tokens")).unwrap();
        let distinct: std::collections::HashSet<&str> = users.lines().collect();
        assert_eq!(distinct.len(), USERS);
        assert!(distinct.iter().all(|token| token.split('.').count() == 3));
        assert!(folder.path().join("admin.tokens").exists());
    }
}
