//! Real Redis servers, started by the tests that need them and stopped on drop.
//!
//! Every server has its own directory and free loopback ports; nothing survives a test. Commands go through
//! `redis-cli`, so that the harness shares no code with the tested client. A missing `redis-server` is a failure with
//! an installation hint, never a skipped test.

mod cluster;
mod deployment;
mod sentinel;
mod server;
mod tls;

pub use self::cluster::{ClusterFailover, RedisCluster};
pub use self::deployment::RedisDeployment;
pub use self::sentinel::RedisSentinels;
pub use self::server::{RedisOptions, RedisServer};
pub use self::tls::Certificates;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Timeout of a server command on a busy host.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Returns a port that no process listens on now.
///
/// # Errors
/// The operating system has no free port.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Polls until `done` returns true.
///
/// # Errors
/// One minute has passed.
fn wait_for(what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let last = done();
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if started.elapsed() > COMMAND_TIMEOUT {
            last.with_context(|| format!("waiting for {what}"))?;
            bail!("timed out waiting for {what}");
        }
        // Another process can only be polled.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `redis-cli` with these arguments and returns its output.
fn cli(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("redis-cli")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .context("cannot run redis-cli; install redis-server with tests/scripts/setup.sh")?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || printed.starts_with("ERR") {
        bail!("redis-cli {arguments:?}: {printed} {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(printed)
}
