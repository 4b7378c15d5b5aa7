//! Start-up errors: all of them at once, with the setting to change and an exit code per kind.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tests::client::http::HttpCaller;
use tests::server::{SECRET, ServerExit, TwinwayServer};

use super::{UNAVAILABLE, USAGE};

/// Asserts that the process exited with `code` and an error that contains all `words`, without a stack trace.
fn assert_error(exit: &ServerExit, code: Option<i32>, words: &[&str]) {
    assert_eq!(exit.code, code, "{}", exit.stderr);
    for word in words {
        assert!(exit.stderr.contains(word), "{word:?} is missing:\n{}", exit.stderr);
    }
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
    assert_eq!(exit.stdout, "", "a server that did not start printed its banner");
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_the_setting_to_change() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for variable in ["TWINWAY_LISTEN", "TWINWAY_OPS_LISTEN"] {
        let exit = TwinwayServer::launch().with_env(variable, address).expect_start_failure().await;
        assert_error(&exit, UNAVAILABLE, &[&address.to_string(), "--listen", "another twinway"]);
    }
}

#[tokio::test]
async fn an_unusable_data_directory_is_reported_with_the_setting_to_change() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below"), "/proc/1/nothing".into()] {
        let exit = TwinwayServer::launch().with_env("TWINWAY_DATA_DIR", path.display()).expect_start_failure().await;
        assert_error(&exit, UNAVAILABLE, &[path.to_str().unwrap(), "--data-dir", "TWINWAY_DATA_DIR"]);
    }
}

#[tokio::test]
async fn a_data_directory_in_use_is_not_shared() {
    let mut first = TwinwayServer::launch().start().await;
    let directory = first.data_dir();
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700, "messages are private");
    let exit = TwinwayServer::launch().with_env("TWINWAY_DATA_DIR", directory.display()).expect_start_failure().await;
    assert_error(&exit, UNAVAILABLE, &[directory.to_str().unwrap(), "locked by another process", "--data-dir"]);
    first.assert_healthy().await;
    // A killed process leaves no lock.
    first.kill().await;
    first.restart().await;
    assert_eq!(first.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_file_that_is_not_a_message_log_is_not_modified() {
    let launch = TwinwayServer::launch();
    std::fs::create_dir(launch.data_dir()).unwrap();
    let path = launch.data_dir().join("messages.redb");
    std::fs::write(&path, "unrelated content").unwrap();
    let exit = launch.clone().expect_start_failure().await;
    assert_error(&exit, UNAVAILABLE, &[path.to_str().unwrap(), "not a message log"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "unrelated content");
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let launch = TwinwayServer::launch().with_file("[drain]\ngrace = \"soon\"\n[session]\ninbound_queue = 0\n");
    let exit = launch
        .with_env("TWINWAY_LISTEN", "everywhere")
        .with_env("TWINWAY_PROFILE", "awz")
        .with_env("TWINWAY_HEADER_TIMEOUT", "5")
        .with_env("TWINWAY_AUTH_SECRET", "hunter2")
        .expect_start_failure()
        .await;
    let words = [
        "6 errors",
        "server.listen = \"everywhere\"",
        "did you mean aws?",
        "server.header_timeout = \"5\"",
        "a duration with a unit",
        "auth.secret",
        "at least 32 bytes",
        "drain.grace = \"soon\"",
        "twinway.toml",
        "session.inbound_queue",
    ];
    assert_error(&exit, USAGE, &words);
    assert!(!exit.stderr.contains("hunter2"), "the error contains the secret");
}

#[tokio::test]
async fn an_unreadable_configuration_file_is_a_usage_error() {
    let exit =
        TwinwayServer::launch().with_env("TWINWAY_CONFIG", "/nonexistent/twinway.toml").expect_start_failure().await;
    assert_error(&exit, USAGE, &["/nonexistent/twinway.toml", "--config"]);
    let exit = TwinwayServer::launch().with_file("[server\nlisten = 1").expect_start_failure().await;
    assert_error(&exit, USAGE, &["twinway.toml"]);
}

#[tokio::test]
async fn an_unknown_key_is_a_warning_with_the_nearest_key() {
    let launch = TwinwayServer::launch().in_memory().with_file("[server]\nheader_timeuot = \"1s\"\n");
    let mut server = launch.with_env("TWINWAY_RETENTION_ENTRY", "5").start().await;
    let log = server.log();
    for warning in [
        "unknown environment variable TWINWAY_RETENTION_ENTRY is ignored; did you mean TWINWAY_RETENTION_ENTRIES?",
        "unknown configuration key server.header_timeuot",
        "did you mean server.header_timeout?",
    ] {
        assert!(log.contains(warning), "{warning:?} is missing:\n{log}");
    }
    server.assert_healthy().await;
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_started_server_prints_working_example_commands() {
    let mut server = TwinwayServer::launch().start().await;
    let page = server.http().get("/").await;
    assert!(page.status == 200 && page.header("content-type").starts_with("text/html"), "{page:?}");
    let ops_on_traffic = HttpCaller::with_base_url(&format!("http://{}", server.traffic)).get("/metrics").await;
    assert_eq!(ops_on_traffic.status, 403, "metrics are not served on the traffic port");
    assert_eq!(server.ops_client().get("/nothing").await.status, 404);
    let metrics = server.ops_client().get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"), "{metrics:?}");
    assert!(metrics.body.ends_with(b"# EOF\n"));
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    for words in
        ["is ready", &format!("ws://{}/prod", server.traffic), "export ALICE=$(", "\"action\":\"send\"", "curl -H"]
    {
        assert!(exit.stdout.contains(words), "{words:?} is missing:\n{}", exit.stdout);
    }
    assert!(!exit.stdout.contains("eyJ"), "output that is not a terminal contains a token:\n{}", exit.stdout);
    // The printed command creates a valid token; a server restarted with the same secret checks it.
    let export = exit.stdout.lines().find(|line| line.trim().starts_with("export ALICE=")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{export}; echo $ALICE")]).env("TWINWAY_AUTH_SECRET", SECRET);
    let token = String::from_utf8(shell.output().unwrap().stdout).unwrap().trim().to_owned();
    assert!(token.starts_with("eyJ"), "{token:?}");
    server.restart().await;
    tests::client::Client::dial(&server.socket_url(), "alice")
        .with_token(&token)
        .open_and_confirm()
        .await
        .close()
        .await;
}
