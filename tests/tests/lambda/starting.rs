//! What an operator can get wrong is said at the start.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tests::server::TwinwayServer;

use super::function;

async fn refused(directory: &Path, said: &str) {
    let exit = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.display())
        .expect_start_failure()
        .await;
    assert_eq!(exit.code, Some(69), "{}", exit.stderr);
    assert!(exit.stderr.contains(said), "{said:?} is not in:\n{}", exit.stderr);
}

fn write(path: &Path, content: &[u8], mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_cannot_be_run_keeps_the_server_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let message = directory.path().join("message");
    std::fs::create_dir(&message).unwrap();
    refused(directory.path(), "the function 'message' cannot be run").await;
    refused(directory.path(), "has no file 'bootstrap'").await;
    write(&message.join("bootstrap"), b"#!/bin/sh\n", 0o644);
    refused(directory.path(), "is not executable; 'chmod +x' makes it so").await;
    let mut binary = std::fs::read(function()).unwrap();
    // e_machine: RISC-V.
    binary[18] = 243;
    write(&message.join("bootstrap"), &binary, 0o755);
    refused(directory.path(), "was built for ELF machine 243, and this machine is").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_message_function_there_is_nothing_to_serve() {
    let directory = tempfile::tempdir().unwrap();
    let exit = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.path().display())
        .expect_start_failure()
        .await;
    assert!(exit.stderr.contains("there is no function 'message'"), "{}", exit.stderr);
    let exit = TwinwayServer::launch().with_env("TWINWAY_FUNCTIONS_SOURCE", "lambda").expect_start_failure().await;
    assert_eq!(exit.code, Some(64));
    assert!(exit.stderr.contains("no function is configured"), "{}", exit.stderr);
}
