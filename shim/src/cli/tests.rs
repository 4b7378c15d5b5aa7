//! Command lines as an operator types them, with an environment of their own.

use std::collections::BTreeMap;

use handlers::authorizer::{KeySet, TokenSettings, TokenVerifier};
use handlers::identity::Role;

use super::*;

struct Outcome {
    code: ExitCode,
    out: String,
    err: String,
}

fn twinway_in(environment: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let strings: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("twinway").chain(arguments.iter().copied()).map(OsString::from);
    let code = run_command_line(arguments, CommandIo { variables: &strings, stdout: &mut out, stderr: &mut err });
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code, out: text(out), err: text(err) }
}

fn twinway(arguments: &[&str]) -> Outcome {
    twinway_in(&[], arguments)
}

impl Outcome {
    fn succeeds(self) -> String {
        assert_eq!(self.code, ExitCode::SUCCESS, "{}", self.err);
        self.out
    }

    fn fails(self, code: u8) -> String {
        assert_eq!(self.code, ExitCode::from(code), "{}{}", self.out, self.err);
        assert_eq!(self.out, "", "a failure is not a result");
        self.err
    }
}

#[test]
fn the_command_line_is_consistent() {
    CommandLine::command().debug_assert();
}

#[test]
fn help_shows_flags_of_the_table_with_variable_and_default() {
    let help = twinway(&["serve", "--help"]).succeeds();
    for text in ["--listen", "TWINWAY_LISTEN", "default: 127.0.0.1:8080", "Examples:", "--data-dir"] {
        assert!(help.contains(text), "{text} is not in\n{help}");
    }
}

#[test]
fn usage_mistakes_exit_with_64() {
    assert!(twinway(&["srve"]).fails(64).contains("serve"));
    assert!(twinway(&["serve", "--lisen", "x"]).fails(64).contains("--listen"));
    assert!(twinway(&["token", "--user", "a b"]).fails(64).contains("a user id must have"));
    assert!(twinway(&[]).fails(64).contains("Usage"));
}

#[test]
fn a_configuration_is_checked_with_all_its_mistakes() {
    let told = twinway(&["config", "check", "--listen", "nowhere", "--profile", "x"]).fails(64);
    assert!(told.contains("2 errors") && told.contains("flag --listen") && told.contains("flag --profile"), "{told}");
    assert!(twinway(&["config", "check"]).succeeds().contains("valid"));
    let told = twinway_in(&[("DEPLOYMENT_MODE", "aws"), ("TWINWAY_AUTH_JWKS_URL", "https://x/")], &["config", "check"]);
    assert!(told.fails(64).contains("API Gateway is the server"));
}

#[test]
fn serving_in_a_mode_without_adapters_says_what_to_do() {
    let environment = [("DEPLOYMENT_MODE", "kubernetes"), ("TWINWAY_AUTH_SECRET", "0123456789abcdef0123456789abcdef")];
    assert!(twinway_in(&environment, &["serve"]).fails(64).contains("DEPLOYMENT_MODE=embedded"));
}

#[test]
fn a_configuration_file_must_be_there_when_it_is_named() {
    let told = twinway(&["config", "check", "--config", "/nowhere.toml"]).fails(64);
    assert!(told.contains("/nowhere.toml"), "{told}");
    let told = twinway_in(&[("TWINWAY_CONFIG", "/elsewhere.toml")], &["config", "check"]).fails(64);
    assert!(told.contains("/elsewhere.toml"), "{told}");
}

#[test]
fn a_file_is_read_and_printed_with_its_origin() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.toml");
    std::fs::write(&path, "[api]\nstage = 'dev'\nstag = 'x'").unwrap();
    let outcome = twinway(&["config", "print", "--config", path.to_str().unwrap()]);
    assert!(outcome.err.contains("did you mean api.stage?"), "{}", outcome.err);
    let out = outcome.succeeds();
    let line = out.lines().find(|line| line.starts_with("api.stage ")).unwrap();
    assert!(line.contains("dev") && line.ends_with(&format!("file {}", path.display())), "{line}");
}

#[tokio::test]
async fn a_token_is_one_that_the_server_takes() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let environment = [("TWINWAY_AUTH_ISSUER", "me"), ("TWINWAY_AUTH_AUDIENCE", "chat")];
    let arguments =
        ["token", "--user", "alice", "--role", "admin", "--tenant", "acme", "--ttl", "1h", "--data-dir", data_dir];
    let out = twinway_in(&environment, &arguments).succeeds();
    let token = out.strip_suffix('\n').unwrap();
    let secret = std::fs::read(directory.path().join("secret")).unwrap();
    let settings = TokenSettings {
        issuer: Some("me".to_owned()),
        audience: Some("chat".to_owned()),
        leeway: std::time::Duration::ZERO,
        ..TokenSettings::new(KeySet::default().with_secret(&secret).unwrap())
    };
    let now = system_clock::current_time();
    let identity = TokenVerifier::new(settings).verify(token, now).await.unwrap();
    assert_eq!((identity.user.as_str(), identity.tenant.as_str(), identity.role), ("alice", "acme", Role::Admin));
    let left = identity.expires_at.unwrap() - now.unix_seconds();
    assert!((3_595..=3_600).contains(&left), "{left} s left");
}

#[test]
fn an_unusable_data_directory_exits_with_69() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, "").unwrap();
    let told = twinway(&["token", "--user", "alice", "--data-dir", path.to_str().unwrap()]).fails(69);
    assert!(told.contains("cannot be used") && told.contains("--data-dir"), "{told}");
}

#[test]
fn without_a_secret_of_its_own_no_token_is_made() {
    let environment = [("TWINWAY_AUTH_JWKS_URL", "https://idp.example/jwks")];
    assert!(twinway_in(&environment, &["token", "--user", "alice"]).fails(64).contains("identity provider"));
}

/// Answers one request with this status line, on a port of its own.
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
fn a_health_check_tells_healthy_from_not() {
    let healthy = answer_once("200 OK");
    assert_eq!(twinway(&["healthcheck", "--ops-listen", &healthy]).succeeds(), "healthy\n");
    let draining = answer_once("503 Service Unavailable");
    let told = twinway(&["healthcheck", "--ready", "--ops-listen", &draining]).fails(1);
    assert!(told.contains("/ready answered 503"), "{told}");
}

#[test]
fn a_health_check_without_a_server_fails_with_a_reason() {
    // Bound and dropped: nobody listens there now.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let told = twinway(&["healthcheck", "--ops-listen", &address]).fails(1);
    assert!(told.contains(&address) && told.contains("the server runs"), "{told}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = twinway(&["completions", shell]).succeeds();
        assert!(script.contains("healthcheck") && script.contains("data-dir"), "{shell}");
    }
    assert!(twinway(&["version"]).succeeds().starts_with("twinway "));
}
