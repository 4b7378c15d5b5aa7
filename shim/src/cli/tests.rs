//! Tests of complete command lines, each with its own environment.

use std::collections::BTreeMap;

use handlers::authorizer::{KeySet, TokenSettings, TokenVerifier};
use handlers::identity::Role;

use super::*;

struct Outcome {
    code: ExitCode,
    stdout: String,
    stderr: String,
}

fn twinway_in(environment: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let variables: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("twinway").chain(arguments.iter().copied()).map(OsString::from);
    let io = CommandIo { variables: &variables, stdout: &mut stdout, stderr: &mut stderr };
    let code = run_command_line(arguments, io);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code, stdout: text(stdout), stderr: text(stderr) }
}

fn twinway(arguments: &[&str]) -> Outcome {
    twinway_in(&[], arguments)
}

impl Outcome {
    fn expect_success(self) -> String {
        assert_eq!(self.code, ExitCode::SUCCESS, "{}", self.stderr);
        self.stdout
    }

    fn expect_failure(self, code: u8) -> String {
        assert_eq!(self.code, ExitCode::from(code), "{}{}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "a failed command prints no result");
        self.stderr
    }
}

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn help_shows_flags_of_the_table_with_variable_and_default() {
    let help = twinway(&["serve", "--help"]).expect_success();
    for text in ["--listen", "TWINWAY_LISTEN", "default: 127.0.0.1:8080", "Examples:", "--data-dir"] {
        assert!(help.contains(text), "{text} is not in\n{help}");
    }
}

#[test]
fn usage_errors_exit_with_64() {
    assert!(twinway(&["srve"]).expect_failure(64).contains("serve"));
    assert!(twinway(&["serve", "--lisen", "x"]).expect_failure(64).contains("--listen"));
    assert!(twinway(&["token", "--user", ""]).expect_failure(64).contains("a user id must have"));
    assert!(twinway(&[]).expect_failure(64).contains("Usage"));
}

#[test]
fn all_errors_of_a_configuration_are_reported() {
    let message = twinway(&["config", "check", "--listen", "nowhere", "--profile", "x"]).expect_failure(64);
    assert!(
        message.contains("2 errors") && message.contains("flag --listen") && message.contains("flag --profile"),
        "{message}"
    );
    assert!(twinway(&["config", "check"]).expect_success().contains("valid"));
    let message =
        twinway_in(&[("DEPLOYMENT_MODE", "aws"), ("TWINWAY_AUTH_JWKS_URL", "https://x/")], &["config", "check"]);
    assert!(message.expect_failure(64).contains("auth.audience: required with auth.jwks_url"));
    let accepting_any =
        [("DEPLOYMENT_MODE", "aws"), ("TWINWAY_AUTH_JWKS_URL", "https://x/"), ("TWINWAY_AUTH_AUDIENCE", "*")];
    let message = twinway_in(&accepting_any, &["config", "check"]);
    assert!(message.expect_failure(64).contains("API Gateway is the server"));
}

#[test]
fn kubernetes_mode_without_redis_is_rejected_with_a_remedy() {
    let environment = [("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_SECRET", "0123456789abcdef0123456789abcdef")];
    assert!(twinway_in(&environment, &["serve"]).expect_failure(64).contains("DEPLOYMENT_MODE=embedded"));
}

#[test]
fn a_configured_file_must_exist() {
    let message = twinway(&["config", "check", "--config", "/nowhere.toml"]).expect_failure(64);
    assert!(message.contains("/nowhere.toml"), "{message}");
    let message = twinway_in(&[("TWINWAY_CONFIG", "/elsewhere.toml")], &["config", "check"]).expect_failure(64);
    assert!(message.contains("/elsewhere.toml"), "{message}");
}

#[test]
fn a_file_is_read_and_printed_with_its_origin() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.toml");
    std::fs::write(&path, "[api]\nstage = 'dev'\nstag = 'x'").unwrap();
    let outcome = twinway(&["config", "print", "--config", path.to_str().unwrap()]);
    assert!(outcome.stderr.contains("did you mean api.stage?"), "{}", outcome.stderr);
    let out = outcome.expect_success();
    let line = out.lines().find(|line| line.starts_with("api.stage ")).unwrap();
    assert!(line.contains("dev") && line.ends_with(&format!("file {}", path.display())), "{line}");
}

#[tokio::test]
async fn a_printed_token_passes_the_server_s_verifier() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let environment = [("TWINWAY_AUTH_ISSUER", "me"), ("TWINWAY_AUTH_AUDIENCE", "chat")];
    let arguments =
        ["token", "--user", "alice", "--role", "admin", "--tenant", "acme", "--ttl", "1h", "--data-dir", data_dir];
    let out = twinway_in(&environment, &arguments).expect_success();
    let token = out.strip_suffix('\n').unwrap();
    let secret = std::fs::read(directory.path().join("secret")).unwrap();
    let settings = TokenSettings {
        issuers: vec!["me".to_owned()],
        audiences: vec!["chat".to_owned()],
        leeway: std::time::Duration::ZERO,
        ..TokenSettings::new(KeySet::default().with_secret(&secret).unwrap())
    };
    let now = system_clock::current_time();
    let identity = TokenVerifier::new(settings).verify(token, now).await.unwrap();
    assert_eq!((identity.user.as_str(), identity.tenant.as_str(), identity.role), ("alice", "acme", Role::Admin));
    let left = identity.expires_at.unwrap() - now.unix_seconds();
    assert!((3_595..=3_600).contains(&left), "{left} s left");
}

#[tokio::test]
async fn a_printed_token_has_the_claims_that_the_server_reads() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let environment = [
        ("TWINWAY_AUTH_USER_CLAIM", "/profile/id"),
        ("TWINWAY_AUTH_ROLE_CLAIM", "realm_access.roles"),
        ("TWINWAY_AUTH_ADMIN_ROLES", "support"),
    ];
    let arguments = ["token", "--user", "f:8c1d:alice", "--role", "admin", "--data-dir", data_dir];
    let out = twinway_in(&environment, &arguments).expect_success();
    let secret = std::fs::read(directory.path().join("secret")).unwrap();
    let mut settings = TokenSettings::new(KeySet::default().with_secret(&secret).unwrap());
    settings.claims.user = "/profile/id".parse().unwrap();
    settings.claims.role = "realm_access.roles".parse().unwrap();
    settings.claims.admin_roles = vec!["support".to_owned()];
    let now = system_clock::current_time();
    let identity = TokenVerifier::new(settings).verify(out.trim_end(), now).await.unwrap();
    assert_eq!((identity.user.as_str(), identity.role), ("f%3A8c1d%3Aalice", Role::Admin));
    let arguments = ["token", "--user", "alice", "--ttl", "367d", "--data-dir", data_dir];
    assert!(twinway_in(&environment, &arguments).expect_failure(64).contains("auth.max_lifetime"));
}

#[test]
fn an_unusable_data_directory_exits_with_69() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    let message = twinway(&["token", "--user", "alice", "--data-dir", path.to_str().unwrap()]).expect_failure(69);
    assert!(message.contains("cannot be used") && message.contains("--data-dir"), "{message}");
}

#[test]
fn without_a_signing_secret_no_token_is_printed() {
    let environment = [("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks"), ("TWINWAY_AUTH_AUDIENCE", "chat")];
    assert!(twinway_in(&environment, &["token", "--user", "alice"]).expect_failure(64).contains("identity provider"));
}

/// Answers one request with this status line, on a free port. Returns the address.
fn answer_once(status: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1_024];
        let _ = std::io::Read::read(&mut stream, &mut head).unwrap();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    address
}

#[test]
fn a_health_check_reports_the_state_of_the_server() {
    let healthy = answer_once("200 OK");
    assert_eq!(twinway(&["healthcheck", "--ops-listen", &healthy]).expect_success(), "healthy\n");
    let draining = answer_once("503 Service Unavailable");
    let message = twinway(&["healthcheck", "--ready", "--ops-listen", &draining]).expect_failure(1);
    assert!(message.contains("/ready: status 503"), "{message}");
}

#[test]
fn a_health_check_without_a_server_fails_with_a_reason() {
    // The listener is dropped at once, so nothing listens on the address.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let message = twinway(&["healthcheck", "--ops-listen", &address]).expect_failure(1);
    assert!(message.contains(&address) && message.contains("the server runs"), "{message}");
}

#[test]
fn completions_contain_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = twinway(&["completions", shell]).expect_success();
        assert!(script.contains("healthcheck") && script.contains("data-dir"), "{shell}");
    }
    assert!(twinway(&["version"]).expect_success().starts_with("twinway "));
}

#[test]
fn routes_prints_the_routes_of_a_template() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("twinway.routes.toml");
    let text = "[routes]\nsend = { function = 'chat', two_way = true }\n[functions.chat]\ncommand = ['true', 'x']\n";
    std::fs::write(&template, text).unwrap();
    let path = directory.path().to_str().unwrap();
    let table = twinway(&["routes", path]).expect_success();
    assert!(table.contains("  send   chat      true x   two-way\n"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&twinway(&["routes", "--json", path]).expect_success()).unwrap();
    assert_eq!(json["routes"][0]["route"], "send");
    let verdict = twinway(&["doctor", path]).expect_success();
    assert!(verdict.ends_with("can be served: 0 security, 0 error, 0 warning findings\n"), "{verdict}");
    std::fs::write(&template, "[routes]\nsend = 'missing'\n").unwrap();
    assert!(twinway(&["doctor", path]).expect_failure(64).contains("twinway.routes.toml:2"));
}

#[test]
fn parameter_overrides_are_pairs() {
    let error = twinway(&["routes", ".", "--parameter-overrides", "Stage"]).expect_failure(64);
    assert!(error.contains("expected NAME=VALUE"), "{error}");
}
