//! Isolation of function processes: none outlives the server, none reads its secrets, and no other user can call a
//! Runtime API.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use tests::conformance::client::ConformanceClient;
use tests::server::{SECRET, ServerLaunch};

use super::{ask, connect, is_running, launch, wait_exit};

/// User and group without privileges, `nobody`.
const NOBODY: u32 = 65_534;

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Returns the ids of the function's process and of two descendants, the second of which has left its process group.
async fn family(client: &mut ConformanceClient) -> Vec<String> {
    let mut pids: Vec<_> = ask(client, "descend").await.split(' ').map(str::to_owned).collect();
    assert_eq!(pids.len(), 2, "{pids:?}");
    pids.push(ask(client, "pid").await);
    assert!(pids.iter().all(|pid| is_running(pid)), "{pids:?}");
    pids
}

fn single() -> ServerLaunch {
    launch().with_env("TWINWAY_FUNCTIONS_MAX_PROCESSES", 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_descendant_of_a_function_outlives_a_killed_server() {
    let mut server = single().start().await;
    let pids = family(&mut connect(&server).await).await;
    server.kill().await;
    for pid in &pids {
        wait_exit(pid).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_ends_a_function_in_an_endless_loop() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    let mut pids = family(&mut client).await;
    client.send_text("hang").await.unwrap();
    server.kill().await;
    while let Some(pid) = pids.pop() {
        wait_exit(&pid).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descendants_end_with_their_function() {
    let mut server = single().with_env("TWINWAY_FUNCTIONS_TIMEOUT", "1s").start().await;
    let mut client = connect(&server).await;
    for end in ["crash", "hang"] {
        let pids = family(&mut client).await;
        assert!(ask(&mut client, end).await.contains("Internal server error"));
        for pid in &pids {
            wait_exit(pid).await;
        }
    }
    let pids = family(&mut client).await;
    assert_eq!(server.stop().await.code, Some(0));
    assert!(!pids.iter().any(|pid| is_running(pid)), "the server waits for them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_kills_its_supervisor_is_killed_itself() {
    let mut server = single().start().await;
    let mut client = connect(&server).await;
    let pid = ask(&mut client, "pid").await;
    client.send_text("orphan").await.unwrap();
    wait_exit(&pid).await;
    // The answer to the other message may have been sent before.
    while ask(&mut client, "pid").await == pid {}
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_the_servers_user_cannot_read_its_environment_and_memory() {
    let mut launch = launch();
    if is_root() {
        // Root may read every process, so the server runs as another user.
        let nobody = NOBODY.to_string();
        launch = launch.under_program(&["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups"]);
    }
    let mut server = launch.start().await;
    let mut client = connect(&server).await;
    let reply = ask(&mut client, &format!("spy {} /no/such/file", server.pid())).await;
    assert_eq!(reply, "nothing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_another_user_cannot_read_the_secret_file_either() {
    if !is_root() {
        eprintln!("SKIPPED: only root can start functions as another user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let spy = |pid| format!("spy {pid} {}", secret.display());

    let mut server = launch().start().await;
    let mut client = connect(&server).await;
    assert!(ask(&mut client, &spy(server.pid())).await.contains("/environ"), "the control of this test");
    let warning = server.wait_for_log("configuration warning").await.to_string();
    assert!(warning.contains("functions run as root"), "{warning}");
    server.stop().await;

    let user = format!("{NOBODY}:{NOBODY}");
    let mut server = launch().with_env("TWINWAY_FUNCTIONS_USER", user).start().await;
    let mut client = connect(&server).await;
    assert_eq!(ask(&mut client, &spy(server.pid())).await, "nothing");
    let pid = ask(&mut client, "pid").await;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let ids = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ids("Uid:"), vec![NOBODY.to_string(); 4]);
    assert_eq!(ids("Gid:"), vec![NOBODY.to_string(); 4]);
    assert!(ids("Groups:").is_empty(), "{status}");
    let exit = server.stop().await;
    assert!(!exit.stderr.contains("functions run as root"), "{}", exit.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_root_can_configure_another_user() {
    let launch = launch().with_env("TWINWAY_FUNCTIONS_USER", "1:1");
    let launch = if is_root() {
        let nobody = NOBODY.to_string();
        launch.under_program(&["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
    } else {
        launch
    };
    let exit = launch.expect_start_failure().await;
    assert_eq!(exit.code, Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("only a server that runs as root"), "{}", exit.stderr);
}

/// Sends a request to the Runtime API at `address` as the user `uid`, and returns what it answers.
fn call_as(uid: Option<u32>, address: &str, path: &str, headers: &str) -> String {
    let (host, port) = address.split_once(':').unwrap();
    let request = format!("GET {path} HTTP/1.1\\r\\n{headers}Connection: close\\r\\n\\r\\n");
    let script = format!("exec 3<>/dev/tcp/{host}/{port} && printf '{request}' >&3 && exec cat <&3");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_other_users_nor_web_pages_use_a_runtime_api() {
    let mut server = single().with_env("TWINWAY_FUNCTIONS_MIN_PROCESSES", 1).start().await;
    let mut client = connect(&server).await;
    let address = ask(&mut client, "env AWS_LAMBDA_RUNTIME_API").await;
    let host = format!("Host: {address}\\r\\n");
    let next = "/2018-06-01/runtime/invocation/next";
    assert!(call_as(None, &address, "/2018-06-01/ping", &host).ends_with("pong"), "the control of this test");
    for headers in ["Host: evil.example\\r\\n", &format!("{host}Origin: http://evil.example\\r\\n")] {
        let answer = call_as(None, &address, next, headers);
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
    }
    let line = server.wait_for_log("runtime API request rejected").await;
    assert_eq!(line["function.name"], "twinway-message");
    if is_root() {
        assert_eq!(call_as(Some(NOBODY), &address, next, &host), "", "the connection is closed");
        let line = server.wait_for_log("runtime API connection of another user rejected").await;
        assert_eq!(line["user.id"], NOBODY);
    } else {
        eprintln!("SKIPPED: only root can try it as another user");
    }
    assert_eq!(ask(&mut client, "hello").await, "received hello");
    server.stop().await;
}
