//! What to paste next: printed once the server is ready, for the person who has just started it.
//!
//! The tokens in it are real and good for half a day, so the text goes to standard output and never to the log.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use handlers::authorizer::MintError;
use handlers::id::{TenantId, UserId};
use handlers::identity::Role;

use super::token::{TokenGrant, mint_token};
use crate::config::{AuthConfig, Config, DeploymentMode, FunctionSource, LogStorage};
use crate::embedded::SigningSecret;
use crate::secret::Secret;

/// How long the printed tokens are good: a working day.
const SAMPLE_TOKEN_TTL: Duration = Duration::from_secs(12 * 60 * 60);

/// The text for a server that is bound to these addresses. Without a secret, tokens are the identity provider's affair.
#[must_use]
pub fn render_startup_banner(
    config: &Config,
    secret: Option<&SigningSecret>,
    listen: SocketAddr,
    ops: SocketAddr,
) -> String {
    let (host, stage) = (client_address(listen), &config.api.stage);
    let mut page = format!(
        "\nTwinway {} is ready (mode {}).\n\n  WebSocket  ws://{host}/{stage}\n  HTTP API   http://{host}/v1\n  web page   http://{host}/\n  \
         metrics    http://{}/metrics\n  messages   {}\n",
        env!("CARGO_PKG_VERSION"),
        config.mode.as_str(),
        client_address(ops),
        storage_description(config),
    );
    if config.mode != DeploymentMode::Embedded {
        // A pod's standard output is a log.
        page.push_str("\nTokens: twinway token --help\n\n");
        return page;
    }
    match secret.map(|signing| (signing, mint_sample_tokens(&signing.secret, &config.auth))) {
        Some((signing, Ok(tokens))) => page.push_str(&render_sample_commands(config, signing, &tokens, &host)),
        // Secrets are checked when they are read; if one cannot sign all the same, serving goes on without the hint.
        Some((_, Err(error))) => drop(writeln!(page, "\nNo tokens to try it with: {}.", errors::chain(&error))),
        None => {
            page.push_str("\nConnect with a token of your identity provider, in ?token=... or Sec-WebSocket-Protocol.\n")
        }
    }
    page.push('\n');
    page
}

struct SampleTokens {
    user: String,
    admin: String,
}

fn mint_sample_tokens(secret: &Secret, auth: &AuthConfig) -> Result<SampleTokens, MintError> {
    let now = system_clock::current_time();
    let grant = |user: &str, role| {
        let user = UserId::parse(user).expect("both names are plain words");
        mint_token(
            secret,
            TokenGrant { user, role, tenant: TenantId::default_tenant(), ttl: SAMPLE_TOKEN_TTL },
            auth,
            now,
        )
    };
    Ok(SampleTokens { user: grant("alice", Role::User)?, admin: grant("admin", Role::Admin)? })
}

fn render_sample_commands(config: &Config, signing: &SigningSecret, tokens: &SampleTokens, host: &str) -> String {
    let stage = &config.api.stage;
    let origin = match (signing.is_new, &config.auth.secret) {
        (true, _) => format!("a newly generated secret in {}", config.storage.data_dir.join("secret").display()),
        (false, None) => format!("the secret in {}", config.storage.data_dir.join("secret").display()),
        (false, Some(_)) => "the configured secret".to_owned(),
    };
    let SampleTokens { user, admin } = tokens;
    format!(
        "
Set two tokens, valid for 12 hours (signed with {origin}):

  export ALICE={user}
  export ADMIN={admin}

Connect a user and an admin, each in its own terminal (or: npx wscat -c URL):

  websocat \"ws://{host}/{stage}?token=$ALICE\"
  websocat \"ws://{host}/{stage}?token=$ADMIN\"

Send a message as alice; the admin receives it:

  {{\"action\":\"send\",\"id\":\"1\",\"body\":\"hello\"}}

Push a message to alice from a backend:

  curl -H \"Authorization: Bearer $ADMIN\" -H 'Content-Type: application/json' \\
    -d '{{\"audience\":{{\"user\":\"alice\"}},\"body\":\"hello from a backend\"}}' http://{host}/v1/messages

More tokens: twinway token --help
"
    )
}

fn storage_description(config: &Config) -> String {
    match config.storage.log {
        _ if config.functions.source == FunctionSource::Lambda => "stored by the functions".to_owned(),
        LogStorage::Postgres => "stored in PostgreSQL".to_owned(),
        LogStorage::Redis => "stored in Redis".to_owned(),
        LogStorage::File => format!("stored in {}", config.storage.data_dir.display()),
        LogStorage::Memory => "in memory, lost at exit".to_owned(),
    }
}

/// Where a client of the same machine connects.
fn client_address(address: SocketAddr) -> String {
    let unspecified = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if unspecified { format!("localhost:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn it_shows_where_to_connect_and_with_what() {
        let config = Config::for_tests();
        let secret = SigningSecret { secret: config.auth.secret.clone().unwrap(), is_new: false };
        let text = render_startup_banner(&config, Some(&secret), address("0.0.0.0:8080"), address("127.0.0.1:8081"));
        assert!(text.contains("ws://localhost:8080/prod?token=$ALICE"), "{text}");
        assert!(text.contains("http://127.0.0.1:8081/metrics"), "{text}");
        assert!(!text.contains(secret.secret.expose()), "the secret was printed");
        assert_eq!(text.matches("export ").count(), 2);
    }

    #[test]
    fn a_pod_prints_no_tokens() {
        let mut config = Config { mode: DeploymentMode::Kubernetes, ..Config::for_tests() };
        config.storage.log = LogStorage::Redis;
        let secret = SigningSecret { secret: config.auth.secret.clone().unwrap(), is_new: false };
        let text = render_startup_banner(&config, Some(&secret), address("0.0.0.0:8080"), address("0.0.0.0:8081"));
        assert!(
            text.contains("mode kubernetes") && text.contains("stored in Redis") && !text.contains("export"),
            "{text}"
        );
    }

    #[test]
    fn functions_keep_their_messages_themselves() {
        let mut config = Config::for_tests();
        config.functions.source = FunctionSource::Lambda;
        let text = render_startup_banner(&config, None, address("127.0.0.1:1"), address("127.0.0.1:2"));
        assert!(text.contains("messages   stored by the functions"), "{text}");
    }

    #[test]
    fn without_a_secret_it_names_the_identity_provider() {
        let text = render_startup_banner(&Config::for_tests(), None, address("127.0.0.1:1"), address("127.0.0.1:2"));
        assert!(text.contains("identity provider") && !text.contains("export"), "{text}");
    }
}
