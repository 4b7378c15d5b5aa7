//! Failing functions: each failure affects its own invocation only.

use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually::test_timeout;
use tests::server::{ServerLaunch, TwinwayServer};

use super::{ask, connect, function, is_running, launch, wait_exit};

const FAILED: &str = r#"{"message": "Internal server error""#;

/// Limits the function to one process: with more, a message that arrives before the process requests its next event
/// starts another one.
fn single() -> ServerLaunch {
    launch().with_env("TWINWAY_FUNCTIONS_MAX_PROCESSES", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_fails_its_message_and_the_next_one_gets_a_new_process() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    let first = ask(&mut client, "pid").await;
    assert!(ask(&mut client, "crash").await.starts_with(FAILED));
    let second = ask(&mut client, "pid").await;
    assert_ne!(first, second);
    wait_exit(&first).await;
    let line = server.wait_for_log("function invocation failed").await;
    let reason = "the function failed with Runtime.ExitError: Runtime exited with error: exit status 7";
    assert_eq!(line["error"], reason);
    assert_eq!(server.wait_for_log("function process exited").await["process.exit"], "exit status 7");
    server.stop().await;
    assert!(!is_running(&second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signal_that_ended_a_function_is_logged() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    assert!(ask(&mut client, "abort").await.starts_with(FAILED));
    let line = server.wait_for_log("function invocation failed").await;
    let error = line["error"].as_str().unwrap();
    // With or without a core dump, as the system is configured.
    let reason = "the function failed with Runtime.ExitError: Runtime exited with error: signal: aborted";
    assert!(error.starts_with(reason), "{error}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_response_is_logged_once_with_its_reason() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    assert!(ask(&mut client, r#"reply {"status":200,"body":"private"}"#).await.starts_with(FAILED));
    let exit = server.stop().await;
    let lines: Vec<_> = exit.stderr.lines().filter(|line| line.contains("function response malformed")).collect();
    assert_eq!(lines.len(), 1, "{}", exit.stderr);
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    let reason = r#"the response has the field "status"; only statusCode, headers, multiValueHeaders, body and isBase64Encoded are allowed"#;
    assert_eq!((line["error"].as_str(), line["level"].as_str()), (Some(reason), Some("ERROR")));
    assert!(!exit.stderr.contains("private") && !exit.stderr.contains("invocation failed"), "{}", exit.stderr);
}

/// The result is larger than API Gateway permits (AU-10).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_too_large_authorizer_result_is_logged_once_with_its_reason() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_AUTHORIZER", function().display());
    let mut server = launch.start().await;
    let endpoint = EndpointAddress::parse(&server.socket_url()).unwrap();
    let attempt = |bytes: &str| {
        let handshake = HandshakeBuilder::new().query(&format!("bytes={bytes}"));
        ConformanceClient::attempt(&endpoint, handshake, test_timeout())
    };
    assert!(attempt("7000").await.unwrap().is_ok());
    let Err(rejected) = attempt("8192").await.unwrap() else { panic!("the handshake is accepted") };
    assert_eq!(rejected.head.status, 500);
    let exit = server.stop().await;
    let lines: Vec<_> = exit.stderr.lines().filter(|line| line.contains("function response malformed")).collect();
    assert_eq!(lines.len(), 1, "{}", exit.stderr);
    let line: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(line["function.name"], "twinway-authorizer");
    let reason = line["error"].as_str().unwrap();
    assert!(reason.contains("API Gateway accepts at most 8192"), "{reason}");
    assert!(!exit.stderr.contains("private") && !exit.stderr.contains("xxxx"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_keeps_the_process() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    assert!(ask(&mut client, "throw something private").await.starts_with(FAILED));
    assert_eq!(ask(&mut client, "pid").await, pid);
    let line = server.wait_for_log("function invocation failed").await;
    assert!(!line.to_string().contains("private"), "{line}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_hangs_is_killed() {
    let mut server = single().with_env("TWINWAY_FUNCTIONS_TIMEOUT", "300ms").start().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    assert!(ask(&mut client, "hang").await.starts_with(FAILED), "an invocation timeout is a function error");
    wait_exit(&pid).await;
    assert_ne!(ask(&mut client, "pid").await, pid);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_cannot_start_fails_its_messages_at_once() {
    let server = launch().with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", "FUNCTION_START=crash").start().await;
    check_failing_start(server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisioned_function_that_cannot_start_does_not_spin() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", "FUNCTION_START=crash");
    let server = launch.with_env("TWINWAY_FUNCTIONS_MIN_PROCESSES", 1).start().await;
    check_failing_start(server).await;
}

async fn check_failing_start(mut server: TwinwayServer) {
    let mut client = connect(&server).await;
    for _ in 0..20 {
        assert!(ask(&mut client, "hello").await.starts_with(FAILED));
    }
    let log = server.stop().await.stderr;
    let starts = log.matches("function process exited").count();
    assert!((1..=20).contains(&starts), "{starts} starts:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_all_limits_messages_are_rejected() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_MAX_PROCESSES", 1).with_env("TWINWAY_FUNCTIONS_QUEUE", 0);
    let mut server = launch.start().await;
    let (mut busy, mut other) = (connect(&server).await, connect(&server).await);
    ask(&mut busy, "pid").await;
    busy.send_text("hang").await.unwrap();
    // Until the function has received it, the other message may be accepted.
    loop {
        let reply = ask(&mut other, "hello").await;
        if reply.starts_with(FAILED) {
            break;
        }
        assert_eq!(reply, "received hello");
    }
    assert_eq!(server.wait_for_log("function invocation rejected").await["function.name"], "twinway-message");
    server.kill().await;
}
