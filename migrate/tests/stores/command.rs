//! The executables: what they say and how they end.

use std::path::Path;
use std::process::Stdio;

use tests::eventually::with_timeout;
use tokio::process::Command;

use super::worlds::{FileStore, World};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").kill_on_drop(true).stdin(Stdio::null());
    command
}

async fn run(mut command: Command) -> Ran {
    let output = with_timeout("the command to end", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Runs `twinway-migrate` between two stores.
pub(crate) async fn migrate(from: &dyn World, to: &dyn World, arguments: &[&str]) -> Ran {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_twinway-migrate")));
    command.envs(from.environment()).envs(to.environment());
    // What is kept is the suites' own matter; a year and more is beyond all of it.
    command.env("TWINWAY_RETENTION_AGE", "400d");
    command.args(["--from", &from.endpoint(), "--to", &to.endpoint()]).args(arguments);
    run(command).await
}

async fn plain(arguments: &[&str]) -> Ran {
    let mut command = command(Path::new(env!("CARGO_BIN_EXE_twinway-migrate")));
    command.args(arguments);
    run(command).await
}

#[tokio::test]
async fn mistakes_are_told_with_their_exit_codes() {
    let unknown = plain(&["--from", "mysql://x", "--to", "redis"]).await;
    assert!(unknown.code == Some(64) && unknown.stderr.contains("dynamodb:TABLE"), "{unknown:?}");
    let same = plain(&["--from", "redis", "--to", "redis"]).await;
    assert!(same.code == Some(64) && same.stderr.contains("the same store"), "{same:?}");
    let none = plain(&["--from", "redis", "--to", "postgres"]).await;
    assert!(none.code == Some(69) && none.stderr.contains("REDIS_URL"), "{none:?}");
    let away = plain(&["--from", "postgres://me:hunter2@127.0.0.1:9/x", "--to", "redis"]).await;
    assert!(away.code == Some(69) && away.stderr.contains("127.0.0.1:9"), "{away:?}");
    assert!(!away.stderr.contains("hunter2"), "a password was shown: {away:?}");
    let help = plain(&["--help"]).await;
    assert!(help.code == Some(0) && help.stdout.contains("Exit codes"), "{help:?}");
}

#[tokio::test]
async fn a_directory_that_a_server_uses_is_refused() {
    let (source, target) = (FileStore::new(), FileStore::new());
    let _held = shim::embedded::DataDirLock::acquire(&source.path()).unwrap();
    let refused = migrate(&source, &target, &[]).await;
    assert!(refused.code == Some(69) && refused.stderr.contains("another twinway"), "{refused:?}");
}

#[tokio::test]
async fn twinway_runs_it_as_a_subcommand() {
    let own = Path::new(env!("CARGO_BIN_EXE_twinway-migrate"));
    let twinway = own.with_file_name("twinway");
    assert!(twinway.is_file(), "{} is not built: `cargo build -p shim --bins`", twinway.display());
    let mut helped = command(&twinway);
    helped.args(["migrate", "--help"]);
    let helped = run(helped).await;
    assert!(helped.code == Some(0) && helped.stdout.contains("--verify-only"), "{helped:?}");

    // Alone in a directory it says how to get the other one.
    let elsewhere = tempfile::tempdir().unwrap();
    let alone = elsewhere.path().join("twinway");
    std::fs::hard_link(&twinway, &alone).or_else(|_| std::fs::copy(&twinway, &alone).map(drop)).unwrap();
    let mut command = command(&alone);
    command.args(["migrate", "--from", "redis", "--to", "postgres"]);
    let missing = run(command).await;
    assert!(missing.code == Some(69) && missing.stderr.contains("cargo build --release -p migrate"), "{missing:?}");
}
