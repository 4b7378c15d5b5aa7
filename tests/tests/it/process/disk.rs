//! A full disk: at start it is said, while running it is an answer, and room makes it good again.
//!
//! The disk is a small tmpfs in a mount namespace of the server's own, so nothing is left behind, whatever happens. Where
//! the kernel lets nobody make one, a bound on the size of files (RLIMIT_FSIZE) stands in; it cannot be lifted again.

use serde_json::json;
use tests::client::type_of;
use tests::server::{ServerLaunch, TwinwayServer};
use tests::world::TokenClaims;
use tokio::process::Command;

use super::{UNAVAILABLE, dial};

/// A disk of so many KiB, with so many of them taken.
struct Disk {
    total: u32,
    taken: u32,
}

/// Whether this user may make mount namespaces.
async fn can_mount() -> bool {
    let probe =
        Command::new("unshare").args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    probe.await.is_ok_and(|output| output.status.success())
}

impl Disk {
    /// Puts the data directory of a launch on this disk. `false` when files are bounded instead.
    async fn below(&self, launch: ServerLaunch) -> (ServerLaunch, bool) {
        let directory = launch.data_dir().display().to_string();
        if can_mount().await {
            let script = format!(
                "mkdir -p {directory} && mount -t tmpfs -o size={}k tmpfs {directory} && \
                 head -c {}k /dev/zero > {directory}/ballast; exec \"$@\"",
                self.total, self.taken
            );
            return (launch.under_program(&["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]), true);
        }
        println!("no mount namespace: files are bounded instead, and the disk never gets room again");
        // Half KiB blocks (POSIX `ulimit -f`); without the trap the kernel would kill the process instead of answering.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * (self.total - self.taken));
        (launch.under_program(&["sh", "-c", &script, "sh"]), false)
    }
}

#[tokio::test]
async fn a_disk_without_room_at_start_is_said() {
    let (launch, _) = Disk { total: 64, taken: 64 }.below(TwinwayServer::launch()).await;
    let directory = launch.data_dir();
    let exit = launch.expect_start_failure().await;
    assert_eq!(exit.code, UNAVAILABLE, "{}", exit.stderr);
    assert!(exit.stderr.contains(directory.to_str().unwrap()) && exit.stderr.contains("disk space"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_disk_that_fills_up_is_an_answer_and_reading_goes_on() {
    let (launch, liftable) = Disk { total: 4 * 1024, taken: 1024 }.below(TwinwayServer::launch()).await;
    let directory = launch.data_dir();
    let mut server = launch.start().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    let body = "x".repeat(20 * 1024);
    let mut acknowledged = 0_u64;
    let refusal = tests::eventually!("the disk to be full", {
        let answer = alice.request(json!({"action": "send", "body": body})).await;
        let full = type_of(&answer) == "error";
        acknowledged += u64::from(!full);
        full.then_some(answer)
    });
    assert_eq!(refusal["code"], "log_full", "{refusal}");
    assert!(acknowledged > 10, "only {acknowledged} messages fitted");
    let history = json!({"action": "history", "channel": "conversation:alice", "limit": 1});
    let page = tests::eventually!("the log to be read again", {
        let answer = alice.request(history.clone()).await;
        (type_of(&answer) == "history").then_some(answer)
    });
    assert_eq!(page["head"], acknowledged, "what was acknowledged is there, what was refused is not");
    let push = json!({"audience": {"user": "alice"}, "body": body});
    let backend =
        server.http().with_token(tests::world::sign_token(tests::server::SECRET, &TokenClaims::service("billing")));
    backend.post("/v1/messages", &push).await.expect_problem(507);
    server.assert_healthy().await;

    if liftable {
        let ballast = format!("/proc/{}/root{}/ballast", server.pid(), directory.display());
        std::fs::remove_file(&ballast).expect("the server's own disk can be reached through /proc");
        let ack = tests::eventually!("messages to be taken again", {
            let answer = alice.request(json!({"action": "send", "body": "room again"})).await;
            (type_of(&answer) == "ack").then_some(answer)
        });
        assert_eq!(ack["offset"], acknowledged + 1, "a refused message took an offset");
    }
    alice.close().await;
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}
