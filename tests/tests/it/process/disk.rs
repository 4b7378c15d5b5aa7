//! A full disk: an error at start-up, an error reply while running, and recovery when space is available again.
//!
//! The disk is a small tmpfs in a mount namespace of the server, so nothing is left on the host. Where the kernel
//! does not permit mount namespaces, a file size limit (RLIMIT_FSIZE) replaces it, which cannot be lifted again.

use serde_json::json;
use tests::client::type_of;
use tests::server::{ServerLaunch, TwinwayServer};
use tests::world::TokenClaims;
use tokio::process::Command;

use super::{UNAVAILABLE, dial};

/// A disk of `total` KiB of which `used` are in use.
struct Disk {
    total: u32,
    used: u32,
}

/// Returns whether this user may create mount namespaces.
async fn can_mount() -> bool {
    let probe =
        Command::new("unshare").args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    probe.await.is_ok_and(|output| output.status.success())
}

impl Disk {
    /// Puts the data directory of a launch on this disk; `false` if the file size is limited instead.
    async fn apply_to(&self, launch: ServerLaunch) -> (ServerLaunch, bool) {
        let directory = launch.data_dir().display().to_string();
        if can_mount().await {
            let script = format!(
                "mkdir -p {directory} && mount -t tmpfs -o size={}k tmpfs {directory} && \
                 head -c {}k /dev/zero > {directory}/ballast; exec \"$@\"",
                self.total, self.used
            );
            return (launch.under_program(&["unshare", "--map-root-user", "--mount", "sh", "-c", &script, "sh"]), true);
        }
        println!("no mount namespace: the file size is limited instead, without a recovery of the disk");
        // In blocks of 512 bytes (POSIX `ulimit -f`); without the trap the kernel would kill the process.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", 2 * (self.total - self.used));
        (launch.under_program(&["sh", "-c", &script, "sh"]), false)
    }
}

#[tokio::test]
async fn a_full_disk_at_start_up_is_reported() {
    let (launch, _) = Disk { total: 64, used: 64 }.apply_to(TwinwayServer::launch()).await;
    let directory = launch.data_dir();
    let exit = launch.expect_start_failure().await;
    assert_eq!(exit.code, UNAVAILABLE, "{}", exit.stderr);
    assert!(exit.stderr.contains(directory.to_str().unwrap()) && exit.stderr.contains("disk space"), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}

#[tokio::test]
async fn a_disk_that_fills_up_rejects_messages_but_not_reads() {
    let (launch, has_disk) = Disk { total: 4 * 1024, used: 1024 }.apply_to(TwinwayServer::launch()).await;
    let directory = launch.data_dir();
    let mut server = launch.start().await;
    let mut alice = dial(&server, &TokenClaims::user("alice")).open_and_confirm().await;
    let body = "x".repeat(20 * 1024);
    let mut acknowledged = 0_u64;
    let rejection = tests::eventually!("the disk to be full", {
        let reply = alice.request(json!({"action": "send", "body": body})).await;
        let full = type_of(&reply) == "error";
        acknowledged += u64::from(!full);
        full.then_some(reply)
    });
    assert_eq!(rejection["code"], "log_full", "{rejection}");
    assert!(acknowledged > 10, "only {acknowledged} messages were stored");
    let history = json!({"action": "history", "channel": "conversation:alice", "limit": 1});
    let page = tests::eventually!("the log to be readable again", {
        let reply = alice.request(history.clone()).await;
        (type_of(&reply) == "history").then_some(reply)
    });
    assert_eq!(page["head"], acknowledged, "the log contains exactly the acknowledged messages");
    let push = json!({"audience": {"user": "alice"}, "body": body});
    let backend =
        server.http().with_token(tests::world::sign_token(tests::server::SECRET, &TokenClaims::service("billing")));
    backend.post("/v1/messages", &push).await.expect_problem(507);
    server.assert_healthy().await;

    if has_disk {
        let ballast = format!("/proc/{}/root{}/ballast", server.pid(), directory.display());
        std::fs::remove_file(&ballast).expect("the server's disk is accessible through /proc");
        let ack = tests::eventually!("messages to be accepted again", {
            let reply = alice.request(json!({"action": "send", "body": "disk space again"})).await;
            (type_of(&reply) == "ack").then_some(reply)
        });
        assert_eq!(ack["offset"], acknowledged + 1, "a rejected message used an offset");
    }
    alice.close().await;
    let exit = server.stop().await;
    assert_eq!(exit.code, Some(0), "{}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{}", exit.stderr);
}
