//! Functions in three languages, deployed as by their authors, from the handshake to the HTTP API.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually::test_timeout;
use tests::server::TwinwayServer;
use tokio::process::Command;

use super::{ask, connect, dial, function, two_way};

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("functions").join(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_answers_the_socket_and_the_http_api() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["connect", "message", "disconnect", "api"] {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(function(), folder.join("bootstrap")).unwrap();
    }
    let mut server = two_way(TwinwayServer::launch())
        .with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.path().display())
        .start()
        .await;
    let mut client = connect(&server).await;
    assert_eq!(ask(&mut client, "hello").await, "received hello");
    let reply = server.http().post("/v1/anything?a=1", &json!("env AWS_LAMBDA_FUNCTION_NAME")).await;
    assert_eq!((reply.status, reply.body.as_ref()), (200, &b"received \"env AWS_LAMBDA_FUNCTION_NAME\""[..]));
    assert_eq!(reply.headers["x-path"], "/v1/anything");
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_answers_the_socket() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let node = std::env::split_paths(&path).map(|folder| folder.join("node")).find(|node| node.is_file());
    let Some(node) = node else {
        assert!(!required(), "Node is not installed");
        eprintln!("SKIPPED: Node is not installed, so nothing was checked");
        return;
    };
    let directory = node.parent().unwrap().display();
    let launch = two_way(TwinwayServer::launch());
    let launch = launch.with_env("TWINWAY_FUNCTIONS_MESSAGE", source("node/bootstrap").display());
    let launch = launch.with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", format!("PATH={directory}:/usr/bin:/bin"));
    let mut server = launch.with_env("TWINWAY_FUNCTIONS_HANDLERS", "message=index.handler").start().await;
    let mut client = connect(&server).await;
    assert_eq!(ask(&mut client, "hello").await, "index.handler received hello");
    assert!(ask(&mut client, "throw").await.contains("Internal server error"));
    assert_eq!(ask(&mut client, "again").await, "index.handler received again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_authorizes_and_answers_through_its_runtime_interface_client() {
    let Some(python) = python().await else { return };
    let file = |handler: &str| format!("[{:?}, '-m', 'awslambdaric', 'app.{handler}']", python.display().to_string());
    let text = format!(
        "[functions]\ndirectory = {:?}\nauthorizer = {}\nconnect = {}\nmessage = {}\n",
        source("python").display().to_string(),
        file("authorize"),
        file("connect"),
        file("message"),
    );
    let mut server = two_way(TwinwayServer::launch()).with_file(&text).start().await;
    let endpoint = EndpointAddress::parse(&server.socket_url()).unwrap();
    let rejection = ConformanceClient::attempt(&endpoint, HandshakeBuilder::new().query("token=wrong"), test_timeout())
        .await
        .unwrap();
    assert_eq!(rejection.err().expect("the token is wrong").head.status, 401);
    let mut client = dial(&server, HandshakeBuilder::new().query("token=let-me-in")).await;
    let reply: Value = serde_json::from_str(&ask(&mut client, "hello").await).unwrap();
    let expected = json!({
        "received": "hello", "team": "blue", "function": "twinway-message", "inTime": true, "region": "us-east-1",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:twinway-message",
    });
    assert_eq!(reply, expected);
    assert_eq!(server.wait_for_log(r#"{"level": "WARN", "message": "a line of Python"}"#).await["level"], "WARN");
    server.stop().await;
}

/// Returns whether a missing language runtime fails the test.
fn required() -> bool {
    std::env::var_os("TWINWAY_TEST_SDKS").is_some()
}

/// Installs Python with the runtime interface client into the build directory.
async fn python() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("functions").join("python");
    std::fs::create_dir_all(&directory).expect("the build directory is writable");
    let script = "python3 -m venv venv && venv/bin/python -m pip install --quiet --requirement \"$0\"";
    let mut install = Command::new("sh");
    install.args(["-c", script]).arg(source("python/requirements.txt")).current_dir(&directory);
    let output = install.stdin(Stdio::null()).kill_on_drop(true).output();
    let failure = match tokio::time::timeout(Duration::from_secs(180), output).await {
        Ok(Ok(output)) if output.status.success() => return Some(directory.join("venv/bin/python")),
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the installation took more than three minutes".to_owned(),
    };
    assert!(!required(), "the runtime interface client could not be installed: {failure}");
    eprintln!("SKIPPED: Python's runtime interface client could not be installed, so nothing was checked: {failure}");
    None
}
