//! Processes of functions: their number, their environment, and their end.

use futures_util::future::join_all;

use tests::conformance::client::ConformanceClient;

use super::{ask, connect, is_running, launch, wait_exit};

/// Sends one message per client, each of which is answered only when all are in progress; returns the process id of
/// each.
async fn gather(clients: &mut [ConformanceClient]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("gather {} {}", clients.len(), directory.path().display());
    join_all(clients.iter_mut().map(|client| ask(client, &text))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_handles_one_message_at_a_time_and_is_reused() {
    let mut server = launch().start().await;
    let mut clients = [connect(&server).await, connect(&server).await, connect(&server).await];
    let mut pids = gather(&mut clients).await;
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 3, "one process per message");
    let again = ask(&mut clients[0], "pid").await;
    assert!(pids.contains(&again), "an idle process is reused");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_runtime_handles_several_messages_at_a_time() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_CONCURRENCY", 8).with_env("TWINWAY_FUNCTIONS_MAX_PROCESSES", 1);
    let mut server = launch.start().await;
    let mut clients = [connect(&server).await, connect(&server).await, connect(&server).await];
    let pids = gather(&mut clients).await;
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_process_exits_and_a_provisioned_one_stays() {
    let mut server = launch().with_env("TWINWAY_FUNCTIONS_IDLE_TIMEOUT", "200ms").start().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    wait_exit(&pid).await;
    assert_ne!(ask(&mut client, "pid").await, pid);
    server.stop().await;

    let provisioned = launch().with_env("TWINWAY_FUNCTIONS_MIN_PROCESSES", 1);
    let mut server = provisioned.start().await;
    let mut client = connect(&server).await;
    assert_eq!(ask(&mut client, "env AWS_LAMBDA_INITIALIZATION_TYPE").await, "provisioned-concurrency");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_see_lambdas_environment_and_no_secret_of_the_server() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", "TABLE=messages");
    let mut server =
        launch.with_env("AWS_REGION", "cn-north-1").with_env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").start().await;
    let mut client = connect(&server).await;
    for (name, value) in [
        ("TABLE", "messages"),
        ("AWS_REGION", "cn-north-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_LAMBDA_FUNCTION_NAME", "twinway-message"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "absent"),
        ("_HANDLER", "bootstrap"),
        ("TZ", ":UTC"),
        ("TWINWAY_AUTH_SECRET", "absent"),
    ] {
        assert_eq!(ask(&mut client, &format!("env {name}")).await, value, "{name}");
    }
    let root = ask(&mut client, "env LAMBDA_TASK_ROOT").await;
    // The runtime directory is the task root.
    let libraries = format!("/lib64:/usr/lib64:{root}:{root}/lib:/opt/lib");
    assert_eq!(ask(&mut client, "env LD_LIBRARY_PATH").await, libraries);
    server.stop().await;
}

/// The server raises its soft limit. Programs that call `select` fail with descriptors above 1,023.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_keep_the_soft_limit_of_open_files_that_the_server_was_started_with() {
    let mut server = launch().under_program(&["prlimit", "--nofile=300:4000"]).start().await;
    let mut client = connect(&server).await;
    assert_eq!(ask(&mut client, "files").await, "300 4000");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let own = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(own.split_whitespace().nth(3), Some("4000"), "{own}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_process_outlives_the_server() {
    let mut server = launch().start().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    assert!(is_running(&pid));
    assert_eq!(server.stop().await.code, Some(0));
    assert!(!is_running(&pid), "the server waits for the process");

    server.restart().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    server.kill().await;
    wait_exit(&pid).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_functions_log_lines_are_logged_with_their_level_and_request() {
    let mut server = launch().start().await;
    let mut client = connect(&server).await;
    let request = ask(&mut client, "log ERROR it-is-broken").await;
    let line = server.wait_for_log(r#"{"level":"ERROR","message":"it-is-broken"}"#).await;
    assert_eq!((line["level"].as_str(), line["function.name"].as_str()), (Some("ERROR"), Some("twinway-message")));
    assert_eq!(line["request.id"], request);
    server.stop().await;
}
