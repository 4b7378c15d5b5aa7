//! `twinway token`: a token that the server of the same configuration accepts.
//!
//! Only the token goes to standard output, so that it can stand in `$(…)`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handlers::authorizer::{Claims, MintError, mint_hs256};
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::Timestamp;

use super::exit::Failure;
use super::{Settings, Terminal};
use crate::config::{AuthConfig, parse_duration};
use crate::embedded::signing_secret;
use crate::secret::Secret;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway token --user alice
  twinway token --user support-1 --role admin --ttl 8h
  twinway token --user billing --role service --tenant acme --ttl 365d
  websocat \"ws://127.0.0.1:8080/prod?token=$(twinway token --user alice)\"

The secret is auth.secret, or the one that the server made in its data directory: run it with the same settings.";

/// What a token shall say.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Who the token is for
    #[arg(long, value_parser = |text: &str| UserId::parse(text))]
    user: UserId,
    /// What its bearer may do: user, admin or service
    #[arg(long, default_value = "user", value_parser = role)]
    role: Role,
    /// Whose deployment the bearer belongs to
    #[arg(long, default_value = "default", value_parser = |text: &str| TenantId::parse(text))]
    tenant: TenantId,
    /// How long it is good, such as 30m, 12h or 7d
    #[arg(long, default_value = "12h", value_parser = parse_duration)]
    ttl: Duration,
    #[command(flatten)]
    settings: Settings,
}

/// A token to be minted.
pub(super) struct Grant {
    pub user: UserId,
    pub role: Role,
    pub tenant: TenantId,
    pub ttl: Duration,
}

pub(super) fn token(arguments: &TokenArgs, terminal: &mut Terminal<'_>) -> Result<ExitCode, Failure> {
    let config = arguments.settings.config(terminal)?;
    let Some(signing) = signing_secret(&config)? else {
        return Err(Failure::usage(
            "this configuration takes tokens of an identity provider alone (auth.jwks), so there is no secret to sign \
             with; ask the provider for a token, or set auth.secret beside it"
                .to_owned(),
        ));
    };
    let grant = Grant {
        user: arguments.user.clone(),
        role: arguments.role,
        tenant: arguments.tenant.clone(),
        ttl: arguments.ttl,
    };
    let token = mint(&signing.secret, grant, &config.auth, system_clock::current_time())
        .map_err(|error| Failure::internal(error.into()))?;
    terminal.print(&format!("{token}\n"))
}

/// Signs what `grant` says, with the issuer and audience that the server expects.
pub(super) fn mint(secret: &Secret, grant: Grant, auth: &AuthConfig, now: Timestamp) -> Result<String, MintError> {
    let claims = Claims {
        sub: grant.user,
        role: grant.role,
        tenant: grant.tenant,
        exp: Some(now.plus(grant.ttl).seconds()),
        iat: Some(now.seconds()),
        iss: auth.issuer.clone(),
        aud: auth.audience.clone(),
    };
    mint_hs256(secret.expose().as_bytes(), &claims)
}

fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "a role is user, admin or service".to_owned())
}
