//! `twinway dev`: table of routes, log line per invocation, variables of a file, changed code.

use std::path::Path;

use serde_json::json;
use tests::conformance::client::HandshakeBuilder;
use tests::eventually;
use tests::server::ServerLaunch;

use super::{Fixture, ask_function, connect};

const TEXT: &str = r#"
[routes]
send = { function = "send", two_way = true }
"#;

/// Returns the launch of `twinway dev` with further arguments, in place of `twinway serve`.
fn launch(fixture: &Fixture, arguments: &str) -> ServerLaunch {
    let command = format!("exec \"$1\" dev {} {arguments}", fixture.template().display());
    fixture
        .launch()
        .with_env("TWINWAY_TEMPLATE", "")
        .with_env("RUST_LOG", "")
        .under_program(&["sh", "-c", &command, "sh"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_prints_the_routes_and_logs_each_invocation() {
    let fixture = Fixture::new(TEXT, &["send"]);
    let mut server = launch(&fixture, "").start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    ask_function(&mut client, r#"{"action":"send"}"#).await;
    let line = server.wait_for_log("invoked").await;
    assert_eq!(
        (&line["route"], &line["status"], &line["start"]),
        (&json!("send"), &json!("200"), &json!("cold")),
        "{line}"
    );
    assert!(line["duration_ms"].is_number() && line["function.name"].is_string(), "{line}");
    let exit = server.stop().await;
    assert!(exit.stdout.contains("ROUTE") && exit.stdout.contains("two-way"), "{}", exit.stdout);
    assert!(exit.stdout.contains(&format!("websocat \"ws://{}/prod\"", server.traffic)), "{}", exit.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_sets_the_variables_of_a_file() {
    let fixture = Fixture::new(TEXT, &["send"]);
    let file = fixture.template().with_file_name("env.json");
    std::fs::write(&file, r#"{"send": {"TEAM": "green"}}"#).unwrap();
    let mut server = launch(&fixture, &format!("--env-vars {}", file.display())).start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    assert_eq!(ask_function(&mut client, r#"{"action":"send"}"#).await["team"], "green");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_with_watch_uses_changed_code_on_open_sockets() {
    let text = format!("{TEXT}\n[functions.send]\ncommand = [\"python3\", \"function.py\", \"first\"]\n");
    let fixture = Fixture::new(&text, &[]);
    let code = fixture.template().with_file_name("function.py");
    let source =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("functions/application/function.py"));
    let source = source.unwrap();
    std::fs::write(&code, &source).unwrap();
    // Outside of the watched directory.
    let record = tempfile::NamedTempFile::new().unwrap();
    let launch = launch(&fixture, "--watch");
    let launch = launch.with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", format!("RECORD={}", record.path().display()));
    let mut server = launch.start().await;
    let mut client = connect(&server, HandshakeBuilder::new()).await;
    assert_eq!(ask_function(&mut client, r#"{"action":"send"}"#).await["function"], "first");
    std::fs::write(&code, source.replace("NAME = sys.argv[1]", "NAME = \"second\"")).unwrap();
    server.wait_for_log("code changed, processes replaced").await;
    eventually!("the changed function to reply", {
        let reply = ask_function(&mut client, r#"{"action":"send"}"#).await;
        (reply["function"] == "second").then_some(())
    });
    server.stop().await;
}
