//! Real Redis servers, started by the tests that need them and stopped when they are dropped.
//!
//! Every server has a directory of its own and free ports on loopback; nothing survives a test. Servers are asked through
//! `redis-cli`, so that the harness shares no code with what it tests. A missing `redis-server` is a failure that says how to
//! install it, never a skipped test.

mod cluster;
mod sentinel;
mod server;
mod tls;

pub use self::cluster::RedisCluster;
pub use self::sentinel::RedisSentinels;
pub use self::server::{RedisOptions, RedisServer};
pub use self::tls::Certificates;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a server may take to do what it was told, on a busy machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A port that nobody listens on now.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Asks again and again, until `done`.
///
/// # Errors
/// When it takes longer than a minute.
fn wait_for(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let last = done();
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if started.elapsed() > COMMAND_TIMEOUT {
            last.with_context(|| format!("waiting for {what}"))?;
            bail!("waited too long for {what}");
        }
        // A poll of another process: there is nothing else to wait on.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `redis-cli` with these arguments and returns what it printed.
fn cli(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("redis-cli")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("redis-cli does not run; install redis-server (tests/scripts/setup.sh does)")?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || printed.starts_with("ERR") {
        bail!("redis-cli {arguments:?}: {printed} {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(printed)
}
