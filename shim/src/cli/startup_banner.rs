//! Startup banner on standard output: addresses, sample tokens and commands to try the server with.
//!
//! It contains only what this configuration serves. Sample tokens are valid for half a day, so they are shown on a
//! terminal only: any other output may be a file or a collected log. There, the banner contains the commands that
//! create them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use handlers::authorizer::MintError;
use handlers::id::TenantId;
use handlers::identity::Role;
use templates::{Application, Authorization};

use super::token::{TokenGrant, mint_token};
use crate::config::{ApiKeySource, AuthConfig, Config, DeploymentMode, FunctionSource, LogStorage};
use crate::embedded::SigningSecret;
use crate::secret::Secret;

/// Lifetime of the sample tokens: a working day.
const SAMPLE_TOKEN_TTL: Duration = Duration::from_secs(12 * 60 * 60);
/// File name of the executable.
const PROGRAM: &str = "twinway";

/// Addresses and secret of the server that the banner describes.
#[derive(Debug, Clone, Copy)]
pub struct BannerContext<'a> {
    /// Command that runs this program, see [`program_command`].
    pub program: &'a str,
    /// Secret that signs the sample tokens; `None` if an identity provider or a Lambda authorizer decides about
    /// clients.
    pub secret: Option<&'a SigningSecret>,
    /// Whether the output is a terminal that a person reads, and that no log agent collects.
    pub is_terminal: bool,
    /// Bound address of the clients' port.
    pub listen: SocketAddr,
    /// Bound address of the ops port.
    pub ops: SocketAddr,
    /// Bound address of unsigned `@connections` calls, if there is such a listener.
    pub management: Option<SocketAddr>,
}

/// Renders the banner.
#[must_use]
pub fn render_startup_banner(config: &Config, context: BannerContext<'_>) -> String {
    let host = client_address(context.listen);
    let mut page = format!(
        "\nTwinway {} is ready (mode {}).\n\n  WebSocket  ws://{host}/{}\n",
        env!("CARGO_PKG_VERSION"),
        config.mode.as_str(),
        config.api.stage
    );
    if has_function(config, "api") {
        let path = if config.application.is_some() { "" } else { "v1" };
        page.push_str(&format!("  HTTP API   http://{host}/{path}\n"));
    }
    if let Some(management) = context.management {
        let stage = &config.api.stage;
        page.push_str(&format!("  local only http://{management}/{stage}/@connections/ID\n"));
    }
    if let Some(hosts) = config.api_hosts() {
        let name = config.server.domain_name.as_deref().or_else(|| hosts.names().next()).unwrap_or_default();
        page.push_str(&format!("  functions  https://{name}/{} reaches this server\n", config.api.stage));
    }
    page.push_str(&format!(
        "  web page   http://{host}/\n  metrics    http://{}/metrics\n  messages   {}\n",
        client_address(context.ops),
        storage_description(config)
    ));
    if config.mode == DeploymentMode::Embedded {
        page.push_str(&connect_instructions(config, context, &host));
    } else if context.secret.is_some() && has_function(config, "authorizer") {
        page.push_str(&format!("\nTokens: {} token --help\n", context.program));
    }
    page.push('\n');
    page
}

/// Returns the command that runs this program: `twinway` if the shell finds `executable` under that name on `path`,
/// otherwise the path of the executable.
#[must_use]
pub fn program_command(executable: Option<&Path>, path: Option<&str>) -> String {
    let Some(executable) = executable else { return PROGRAM.to_owned() };
    let found = path.and_then(|path| {
        std::env::split_paths(path).map(|directory| directory.join(PROGRAM)).find(|candidate| candidate.is_file())
    });
    match found.map(|candidate| candidate.canonicalize()) {
        Some(Ok(found)) if executable.canonicalize().is_ok_and(|executable| executable == found) => PROGRAM.to_owned(),
        _ => shell_word(&executable.display().to_string()),
    }
}

/// Quotes `text` for a POSIX shell if it contains anything but letters, digits and path characters.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Returns whether the API has the function `name`. The messaging application has all of them.
fn has_function(config: &Config, name: &str) -> bool {
    match &config.application {
        Some(application) if name == "authorizer" => has_authorizer(application),
        Some(application) => name == "api" && !application.http_apis.is_empty(),
        None => config.functions.source == FunctionSource::Embedded || config.functions.has_lambda(name),
    }
}

/// Returns whether clients of the application must authenticate.
fn has_authorizer(application: &Application) -> bool {
    let routes = application.websocket_api.iter().flat_map(|api| &api.routes);
    routes.into_iter().any(|route| route.key == "$connect" && route.authorization != Authorization::None)
}

fn connect_instructions(config: &Config, context: BannerContext<'_>, host: &str) -> String {
    let url = format!("ws://{host}/{}", config.api.stage);
    let key = key_option(config);
    let mut text = match (config.functions.source, context.secret) {
        (FunctionSource::Lambda, _) if !has_function(config, "authorizer") => format!(
            "\nConnect without a token, since there is no authorizer function (or with npx wscat -c):\n\n  \
             websocat \"{url}\"{key}\n"
        ),
        (FunctionSource::Lambda, None) => format!(
            "\nConnect with the headers or query parameters that the authorizer function requires (or with npx \
             wscat -c):\n\n  websocat \"{url}\"{key}\n"
        ),
        (_, Some(signing)) => match sample_tokens(config, context, signing) {
            Ok(tokens) => render_sample_commands(config, context, signing, &tokens, host),
            // The secret was validated when it was read; a failure to sign must not end the server.
            Err(error) => format!("\nSample tokens could not be signed: {}.\n", errors::chain(&error)),
        },
        (FunctionSource::Embedded, None) => {
            "\nConnect with a token of your identity provider, in ?token=... or Sec-WebSocket-Protocol.\n".to_owned()
        }
    };
    if !key.is_empty() {
        text.push_str("\nClients also need one of api.keys: set it as KEY.\n");
    }
    text
}

/// Returns the option of `websocat` and `wscat` for the API key; empty if the API needs none in a header.
fn key_option(config: &Config) -> &'static str {
    if config.api.key_required && config.api.key_source == ApiKeySource::Header {
        " -H \"x-api-key: $KEY\""
    } else {
        ""
    }
}

/// Tokens as the values of shell variables: themselves, or commands that create them.
struct SampleTokens {
    user: String,
    admin: String,
}

fn sample_tokens(
    config: &Config,
    context: BannerContext<'_>,
    signing: &SigningSecret,
) -> Result<SampleTokens, MintError> {
    if context.is_terminal {
        return mint_sample_tokens(&signing.secret, &config.auth);
    }
    let command = |user: &str| format!("$({} token --user {user})", context.program);
    Ok(SampleTokens { user: command("alice"), admin: command("admin --role admin") })
}

fn mint_sample_tokens(secret: &Secret, auth: &AuthConfig) -> Result<SampleTokens, MintError> {
    let now = system_clock::current_time();
    let mint = |user: &str, role| {
        let (user, tenant) = (user.to_owned(), TenantId::default_tenant().into());
        mint_token(secret, TokenGrant { user, role, tenant, ttl: SAMPLE_TOKEN_TTL, channels: None }, auth, now)
    };
    Ok(SampleTokens { user: mint("alice", Role::User)?, admin: mint("admin", Role::Admin)? })
}

fn render_sample_commands(
    config: &Config,
    context: BannerContext<'_>,
    signing: &SigningSecret,
    tokens: &SampleTokens,
    host: &str,
) -> String {
    let (stage, key) = (&config.api.stage, key_option(config));
    let origin = match (signing.is_new, &config.auth.secret) {
        (true, _) => format!("a newly generated secret in {}", config.storage.data_dir.join("secret").display()),
        (false, None) => format!("the secret in {}", config.storage.data_dir.join("secret").display()),
        (false, Some(_)) => "the configured secret".to_owned(),
    };
    let introduction = if context.is_terminal {
        "Set two tokens in each of two terminals"
    } else {
        "Create two tokens in each of two terminals, with the settings of this server"
    };
    let SampleTokens { user, admin } = tokens;
    format!(
        "
{introduction}, valid for 12 hours (signed with {origin}):

  export ALICE={user}
  export ADMIN={admin}

Connect a user in one terminal and an admin in the other (or with npx wscat -c in place of websocat):

  websocat \"ws://{host}/{stage}?token=$ALICE\"{key}
  websocat \"ws://{host}/{stage}?token=$ADMIN\"{key}
{frames}
More tokens: {program} token --help
",
        frames =
            if config.functions.source == FunctionSource::Embedded { messaging_commands(host) } else { String::new() },
        program = context.program
    )
}

/// Returns a frame and a request of the messaging application.
fn messaging_commands(host: &str) -> String {
    format!(
        "
Send a message as alice; the admin receives it:

  {{\"action\":\"send\",\"id\":\"1\",\"body\":\"hello\"}}

Push a message to alice from a backend:

  curl -H \"Authorization: Bearer $ADMIN\" -H 'Content-Type: application/json' \\
    -d '{{\"audience\":{{\"user\":\"alice\"}},\"body\":\"hello from a backend\"}}' http://{host}/v1/messages
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

/// Returns the address for clients on the same machine: `localhost` if the server listens on all addresses.
pub(super) fn client_address(address: SocketAddr) -> String {
    let unspecified = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    if unspecified { format!("localhost:{}", address.port()) } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(config: &Config, secret: Option<&SigningSecret>) -> String {
        render_to(true, config, secret)
    }

    fn render_to(is_terminal: bool, config: &Config, secret: Option<&SigningSecret>) -> String {
        let (listen, ops) = ("0.0.0.0:8080".parse().unwrap(), "127.0.0.1:8081".parse().unwrap());
        render_startup_banner(
            config,
            BannerContext { program: "/opt/twinway", secret, is_terminal, listen, ops, management: None },
        )
    }

    fn configured_secret(config: &Config) -> SigningSecret {
        SigningSecret { secret: config.auth.secret.clone().unwrap(), is_new: false }
    }

    fn lambda_config(functions: &[&'static str]) -> Config {
        let mut config = Config::for_tests();
        config.functions.source = FunctionSource::Lambda;
        config.functions.commands = functions.iter().map(|name| (*name, vec!["./bootstrap".to_owned()])).collect();
        config
    }

    #[test]
    fn it_shows_addresses_and_sample_tokens() {
        let config = Config::for_tests();
        let secret = configured_secret(&config);
        let text = render(&config, Some(&secret));
        assert!(text.contains("ws://localhost:8080/prod?token=$ALICE") && text.contains("npx wscat -c"), "{text}");
        assert!(
            text.contains("http://localhost:8080/v1\n") && text.contains("http://127.0.0.1:8081/metrics"),
            "{text}"
        );
        assert!(text.contains("More tokens: /opt/twinway token --help"), "{text}");
        assert!(!text.contains(secret.secret.expose()), "the secret was printed");
        assert_eq!(text.matches("export ALICE=eyJ").count() + text.matches("export ADMIN=eyJ").count(), 2);
    }

    #[test]
    fn output_that_is_not_a_terminal_contains_commands_in_place_of_tokens() {
        let config = Config::for_tests();
        let text = render_to(false, &config, Some(&configured_secret(&config)));
        assert!(!text.contains("eyJ"), "{text}");
        assert!(text.contains("export ALICE=$(/opt/twinway token --user alice)\n"), "{text}");
        assert!(text.contains("export ADMIN=$(/opt/twinway token --user admin --role admin)\n"), "{text}");
        assert!(text.contains("ws://localhost:8080/prod?token=$ALICE"), "{text}");
    }

    #[test]
    fn a_required_api_key_is_part_of_every_command() {
        let mut configs = [Config::for_tests(), lambda_config(&["message"])];
        for config in &mut configs {
            config.api.key_required = true;
            let text = render(config, Some(&configured_secret(config)));
            let commands = text.matches("websocat \"ws://").count();
            assert!(commands > 0 && text.matches("\" -H \"x-api-key: $KEY\"\n").count() == commands, "{text}");
            assert!(text.contains("set it as KEY"), "{text}");
            config.api.key_source = ApiKeySource::Authorizer;
            assert!(!render(config, None).contains("KEY"));
        }
    }

    #[test]
    fn a_pod_prints_no_tokens() {
        let mut config = Config { mode: DeploymentMode::Kubernetes, ..Config::for_tests() };
        config.storage.log = LogStorage::Redis;
        let text = render(&config, Some(&configured_secret(&config)));
        assert!(text.contains("mode kubernetes") && text.contains("stored in Redis"), "{text}");
        assert!(text.contains("Tokens: /opt/twinway token --help") && !text.contains("export"), "{text}");
        assert!(!render(&config, None).contains("twinway token"), "there is no secret to sign with");
    }

    #[test]
    fn without_a_secret_it_names_the_identity_provider() {
        let text = render(&Config::for_tests(), None);
        assert!(text.contains("identity provider") && !text.contains("export"), "{text}");
    }

    #[test]
    fn lambda_functions_without_an_authorizer_need_no_token() {
        let config = lambda_config(&["message"]);
        for secret in [None, Some(&configured_secret(&config))] {
            let text = render(&config, secret);
            assert!(
                text.contains("without a token") && text.contains("websocat \"ws://localhost:8080/prod\""),
                "{text}"
            );
            assert!(!text.contains("identity provider") && !text.contains("export"), "{text}");
        }
    }

    #[test]
    fn a_lambda_authorizer_decides_about_credentials() {
        let config = lambda_config(&["authorizer", "message"]);
        let text = render(&config, None);
        assert!(text.contains("authorizer function requires") && !text.contains("identity provider"), "{text}");
        assert!(!text.contains("export") && !text.contains("twinway token"), "{text}");
        // A configured secret has no other purpose than an authorizer function that verifies its tokens.
        let text = render(&config, Some(&configured_secret(&config)));
        assert!(text.contains("export ALICE=eyJ"), "{text}");
        assert!(!text.contains("action") && !text.contains("/v1"), "the messaging application is not served: {text}");
    }

    #[test]
    fn the_http_api_is_shown_only_if_there_is_an_api_function() {
        let text = render(&lambda_config(&["message"]), None);
        assert!(!text.contains("/v1") && text.contains("messages   stored by the functions"), "{text}");
        assert!(render(&lambda_config(&["message", "api"]), None).contains("HTTP API   http://localhost:8080/v1\n"));
    }

    #[test]
    fn the_program_is_named_by_its_path_unless_it_is_on_the_search_path() {
        let directory = tempfile::tempdir().unwrap();
        let install = |name: &str| {
            std::fs::create_dir(directory.path().join(name)).unwrap();
            let program = directory.path().join(name).join(PROGRAM);
            std::fs::write(&program, "").unwrap();
            program
        };
        let (first, second) = (install("first"), install("second"));
        let search_path = std::env::join_paths([first.parent().unwrap(), second.parent().unwrap()]).unwrap();
        let search_path = search_path.to_str();
        assert_eq!(program_command(Some(&first), search_path), "twinway");
        assert_eq!(program_command(Some(&second), search_path), shell_word(second.to_str().unwrap()));
        assert_eq!(program_command(Some(&first), Some("/nowhere")), shell_word(first.to_str().unwrap()));
        assert_eq!(program_command(None, None), "twinway");
        assert_eq!(shell_word("/my programs/twinway"), "'/my programs/twinway'");
    }
}
