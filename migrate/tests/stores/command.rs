//! The executables: output and exit codes.

use std::path::Path;
use std::process::Stdio;

use tests::eventually::with_timeout;
use tokio::process::Command;

use super::worlds::{FileStore, World};

/// Outcome of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").kill_on_drop(true).stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> CommandOutput {
    let output = with_timeout("the command to end", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    CommandOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `twinway-migrate` between two stores.
pub(crate) async fn migrate(from: &dyn World, to: &dyn World, arguments: &[&str]) -> CommandOutput {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_twinway-migrate")));
    command.envs(from.environment()).envs(to.environment());
    // Longer than the age of all messages in the tests.
    command.env("TWINWAY_RETENTION_AGE", "400d");
    command.args(["--from", &from.endpoint(), "--to", &to.endpoint()]).args(arguments);
    run(command).await
}

async fn run_migrate(arguments: &[&str]) -> CommandOutput {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_twinway-migrate")));
    command.args(arguments);
    run(command).await
}

#[tokio::test]
async fn errors_have_messages_and_exit_codes() {
    let unknown = run_migrate(&["--from", "mysql://x", "--to", "redis"]).await;
    assert!(unknown.code == Some(64) && unknown.stderr.contains("dynamodb:TABLE"), "{unknown:?}");
    let same = run_migrate(&["--from", "redis", "--to", "redis"]).await;
    assert!(same.code == Some(64) && same.stderr.contains("the same store"), "{same:?}");
    let unconfigured = run_migrate(&["--from", "redis", "--to", "postgres"]).await;
    assert!(unconfigured.code == Some(69) && unconfigured.stderr.contains("REDIS_URL"), "{unconfigured:?}");
    let unreachable = run_migrate(&["--from", "postgres://me:hunter2@127.0.0.1:9/x", "--to", "redis"]).await;
    assert!(unreachable.code == Some(69) && unreachable.stderr.contains("127.0.0.1:9"), "{unreachable:?}");
    assert!(!unreachable.stderr.contains("hunter2"), "a password was shown: {unreachable:?}");
    let help = run_migrate(&["--help"]).await;
    assert!(help.code == Some(0) && help.stdout.contains("Exit codes"), "{help:?}");
}

#[tokio::test]
async fn a_directory_in_use_by_a_server_is_rejected() {
    let (source, target) = (FileStore::new(), FileStore::new());
    let _lock = shim::embedded::DataDirLock::acquire(&source.path()).unwrap();
    let rejected = migrate(&source, &target, &[]).await;
    assert!(rejected.code == Some(69) && rejected.stderr.contains("another twinway"), "{rejected:?}");
}

#[tokio::test]
async fn twinway_runs_it_as_a_subcommand() {
    let own = Path::new(env!("CARGO_BIN_EXE_twinway-migrate"));
    let twinway = own.with_file_name("twinway");
    assert!(twinway.is_file(), "{} is not built: `cargo build -p shim --bins`", twinway.display());
    let mut help = command(&twinway);
    help.args(["migrate", "--help"]);
    let help = run(help).await;
    assert!(help.code == Some(0) && help.stdout.contains("--verify-only"), "{help:?}");

    // Without `twinway-migrate` in its directory, it explains how to install it.
    let directory = tempfile::tempdir().unwrap();
    let alone = directory.path().join("twinway");
    std::fs::hard_link(&twinway, &alone).or_else(|_| std::fs::copy(&twinway, &alone).map(drop)).unwrap();
    let mut command = command(&alone);
    command.args(["migrate", "--from", "redis", "--to", "postgres"]);
    let missing = run(command).await;
    assert!(
        missing.code == Some(69) && missing.stderr.contains("cargo install --locked --path migrate"),
        "{missing:?}"
    );
}
