//! Start-up errors of functions.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tests::server::TwinwayServer;

use super::function;

async fn expect_startup_error(directory: &Path, text: &str) {
    let exit = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.display())
        .expect_start_failure()
        .await;
    assert_eq!(exit.code, Some(69), "{}", exit.stderr);
    assert!(exit.stderr.contains(text), "{text:?} is missing:\n{}", exit.stderr);
}

fn write(path: &Path, content: &[u8], mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_cannot_be_executed_is_a_startup_error() {
    let directory = tempfile::tempdir().unwrap();
    let message = directory.path().join("message");
    std::fs::create_dir(&message).unwrap();
    expect_startup_error(directory.path(), "starting function 'message' failed").await;
    expect_startup_error(directory.path(), "has no file 'bootstrap'").await;
    write(&message.join("bootstrap"), b"#!/bin/sh\n", 0o644);
    expect_startup_error(directory.path(), "is not executable; run 'chmod +x' on it").await;
    write(&message.join("bootstrap"), b"#!/bin/sh\r\nexit 0\r\n", 0o755);
    expect_startup_error(directory.path(), "has Windows line endings (CR LF); run 'sed -i").await;
    write(&message.join("bootstrap"), b"#!/usr/bin/env no-such-python\n", 0o755);
    expect_startup_error(directory.path(), "requires the interpreter no-such-python").await;
    let mut binary = std::fs::read(function()).unwrap();
    // e_machine: RISC-V.
    binary[18] = 243;
    write(&message.join("bootstrap"), &binary, 0o755);
    expect_startup_error(directory.path(), "was built for ELF machine 243, but this machine is").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_message_function_the_server_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let exit = TwinwayServer::launch()
        .with_env("TWINWAY_FUNCTIONS_DIRECTORY", directory.path().display())
        .expect_start_failure()
        .await;
    assert_eq!(exit.code, Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("the function 'message' is missing"), "{}", exit.stderr);
    let exit = TwinwayServer::launch().with_env("TWINWAY_FUNCTIONS_SOURCE", "lambda").expect_start_failure().await;
    assert_eq!(exit.code, Some(64));
    assert!(exit.stderr.contains("no function is configured"), "{}", exit.stderr);
}
