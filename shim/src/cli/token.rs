//! `twinway token`: prints a token that a server with the same configuration accepts.
//!
//! Standard output contains the token only, for use in `$(…)`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use handlers::authorizer::{JwtClaims, MintError, mint_hs256};
use handlers::channel_policy::ChannelGrants;
use handlers::config_value::parse_duration;
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::Timestamp;

use super::exit::CommandError;
use super::{CommandIo, ConfigArgs};
use crate::config::AuthConfig;
use crate::embedded::signing_secret;
use crate::secret::Secret;

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway token --user alice
  twinway token --user alice --channels 'room:support,topic:news.*'
  twinway token --user support-1 --role admin --ttl 8h
  twinway token --user billing --role service --tenant acme --ttl 365d
  websocat \"ws://127.0.0.1:8080/prod?token=$(twinway token --user alice)\"
  npx wscat -c \"ws://127.0.0.1:8080/prod?token=$(twinway token --user alice)\"

The token is signed with auth.secret, or with the secret that the server generated in its data directory: use the same
settings as the server.";

/// Claims of the token, and the configuration that signs it.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// User of the bearer: the subject of the token
    #[arg(long, value_parser = |text: &str| UserId::encode(text).map(|_| text.to_owned()))]
    user: String,
    /// Role of the bearer: user, admin or service
    #[arg(long, default_value = "user", value_parser = parse_role)]
    role: Role,
    /// Tenant of the bearer
    #[arg(long, default_value = "default", value_parser = |text: &str| TenantId::encode(text).map(|_| text.to_owned()))]
    tenant: String,
    /// Lifetime of the token, such as 30m, 12h or 7d
    #[arg(long, default_value = "12h", value_parser = parse_duration)]
    ttl: Duration,
    /// Rooms and topics that a user may join, such as room:support,topic:news.* or none; auth.default_channels if absent
    #[arg(long, value_delimiter = ',')]
    channels: Option<Vec<String>>,
    #[command(flatten)]
    settings: ConfigArgs,
}

/// Claims of a token to mint.
pub(super) struct TokenGrant {
    pub user: String,
    pub role: Role,
    pub tenant: String,
    pub ttl: Duration,
    /// Patterns of rooms and topics; `None` for the server's default.
    pub channels: Option<Vec<String>>,
}

pub(super) fn print_token(arguments: &TokenArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let config = arguments.settings.load_valid_config(terminal)?;
    let Some(signing) = signing_secret(&config)? else {
        return Err(CommandError::usage_error(
            "this configuration accepts only tokens of an identity provider (auth.jwks), so there is no signing \
             secret; request a token from the provider, or also set auth.secret"
                .to_owned(),
        ));
    };
    if arguments.ttl > config.auth.max_lifetime {
        return Err(CommandError::usage_error(format!(
            "--ttl is longer than auth.max_lifetime ({:?}), so the server would reject the token; shorten it, or raise \
             TWINWAY_AUTH_MAX_LIFETIME",
            config.auth.max_lifetime
        )));
    }
    if let Some(channels) = &arguments.channels {
        let checked = ChannelGrants::parse(channels.iter().map(String::as_str));
        checked.map_err(|rule| CommandError::usage_error(format!("--channels {rule}")))?;
    }
    let grant = TokenGrant {
        user: arguments.user.clone(),
        role: arguments.role,
        tenant: arguments.tenant.clone(),
        ttl: arguments.ttl,
        channels: arguments.channels.clone(),
    };
    let token = mint_token(&signing.secret, grant, &config.auth, system_clock::current_time())
        .map_err(|error| CommandError::internal_error(error.into()))?;
    terminal.print_result(&format!("{token}\n"))
}

/// Signs a token with the claims of `grant`, in the claims that the server reads, and the issuer and audience that the
/// server requires.
pub(super) fn mint_token(
    secret: &Secret,
    grant: TokenGrant,
    auth: &AuthConfig,
    now: Timestamp,
) -> Result<String, MintError> {
    let claims = JwtClaims {
        sub: grant.user,
        role: grant.role,
        tenant: grant.tenant,
        exp: Some(now.plus(grant.ttl).unix_seconds()),
        iat: Some(now.unix_seconds()),
        iss: auth.issuers.first().cloned(),
        aud: auth.audiences.first().cloned(),
        channels: grant.channels,
    };
    mint_hs256(secret.expose().as_bytes(), &auth.claims.issued_claims(&claims))
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "must be user, admin or service".to_owned())
}
