//! File descriptors: the limit is raised, and the ops port answers when none is left.

use tests::client::raw::RawConnection;
use tests::server::TwinwayServer;
use tokio::process::Command;

/// Returns the soft and the hard limit of open files (proc(5)).
fn file_limits(server: &TwinwayServer) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut columns = line.split_whitespace().skip(3).map(str::to_owned);
    (columns.next().unwrap(), columns.next().unwrap())
}

fn open_files(server: &TwinwayServer) -> Vec<u32> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    files.filter_map(|file| file.ok()?.file_name().into_string().ok()?.parse().ok()).collect()
}

/// Requests `/health` on a new connection.
async fn health(server: &TwinwayServer) -> String {
    let mut raw = RawConnection::connect(server.ops).await;
    raw.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    raw.read_head().await
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_a_limit_below_the_connections_is_reported() {
    let launch = TwinwayServer::launch().in_memory().under_program(&["prlimit", "--nofile=256:4096"]);
    let mut server = launch.start().await;
    assert_eq!(file_limits(&server), ("4096".to_owned(), "4096".to_owned()));
    let warnings = server.stop().await.warnings();
    assert!(warnings.keys().any(|text| text.contains("does not cover server.max_connections")), "{warnings:?}");
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_MAX_CONNECTIONS", 3_000);
    let mut server = launch.under_program(&["prlimit", "--nofile=256:4096"]).start().await;
    assert_eq!(server.stop().await.warnings().len(), 0);
}

#[tokio::test]
async fn health_is_answered_while_clients_use_all_descriptors() {
    let launch = TwinwayServer::launch().in_memory().with_env("TWINWAY_HEADER_TIMEOUT", "10m");
    let mut server = launch.under_program(&["prlimit", "--nofile=256:256"]).start().await;
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(RawConnection::connect(server.traffic).await);
    }
    assert!(health(&server).await.starts_with("HTTP/1.1 200 "));
    drop(clients);
    assert_eq!(server.stop().await.code, Some(0));
}

#[tokio::test]
async fn health_is_answered_when_no_descriptor_is_left() {
    let mut server = TwinwayServer::launch().in_memory().start().await;
    assert!(health(&server).await.starts_with("HTTP/1.1 200 "));
    let clients = [RawConnection::connect(server.traffic).await, RawConnection::connect(server.traffic).await];
    // With the lowest free number as the limit, the process can open no other file.
    let lowest_free = (3..).find(|number| !open_files(&server).contains(number)).unwrap();
    let limit = format!("--nofile={lowest_free}:{lowest_free}");
    let changed = Command::new("prlimit").args(["--pid", &server.pid().to_string(), &limit]).status().await;
    assert!(changed.is_ok_and(|status| status.success()));
    for _ in 0..3 {
        let head = health(&server).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    drop(clients);
    assert_eq!(server.stop().await.code, Some(0));
}
