//! Redis master with a replica, monitored by Sentinels that fail over when the master dies.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

use super::server::{RedisOptions, RedisServer};
use super::{cli, free_port, wait_for};
use crate::child::KillOnDrop;

/// Name of the master in the Sentinels' configuration.
const NAME: &str = "mymaster";
/// Time in milliseconds until the Sentinels mark a silent master as down: long enough for a busy host.
const DOWN_AFTER: &str = "60000";
/// The same after the master was killed.
const DOWN_AFTER_KILL: &str = "500";

/// Two servers, one of them the master, and three Sentinels.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    _child: KillOnDrop,
    _directory: TempDir,
}

impl RedisSentinels {
    /// Starts all processes and waits until the replica has synchronized and the Sentinels agree.
    ///
    /// # Errors
    /// A process does not become ready.
    pub fn start() -> anyhow::Result<Self> {
        let options = RedisOptions { append_only: true, ..RedisOptions::default() };
        let master = RedisServer::start_with(options.clone())?;
        let replica =
            RedisServer::start_with(options.with_setting("replicaof", &format!("127.0.0.1 {}", master.port())))?;
        // A replica that has not finished its first synchronization is never promoted.
        wait_for("the replica", || {
            Ok(replica.run_command(&["INFO", "replication"])?.contains("master_link_status:up"))
        })?;
        let sentinels = (0..3).map(|_| Sentinel::start(master.port())).collect::<anyhow::Result<Vec<_>>>()?;
        for sentinel in &sentinels {
            wait_for("the Sentinels", || {
                let known = sentinel.run_command(&["SENTINEL", "MASTER", NAME])?;
                Ok(field(&known, "num-slaves") == Some("1") && field(&known, "num-other-sentinels") == Some("2"))
            })?;
        }
        Ok(Self { servers: vec![master, replica], sentinels })
    }

    /// Returns the Sentinels' URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port)).collect()
    }

    /// Kills the master and waits until the Sentinels report the other server.
    ///
    /// # Errors
    /// The failover does not complete in time.
    pub fn fail_over(&mut self) -> anyhow::Result<()> {
        let before = self.master_port()?;
        let master = self.servers.iter_mut().find(|server| server.port() == before).context("the master is unknown")?;
        master.kill();
        self.set_down_after(DOWN_AFTER_KILL)?;
        for sentinel in &self.sentinels {
            wait_for("the failover", || Ok(sentinel.master_port()? != before))?;
        }
        let after = self.master_port()?;
        let promoted = self.servers.iter().find(|server| server.port() == after).context("the master is unknown")?;
        wait_for("the promotion", || Ok(promoted.run_command(&["INFO", "replication"])?.contains("role:master")))?;
        self.set_down_after(DOWN_AFTER)?;
        // Sentinels do not report a master that they consider down at the moment.
        for sentinel in &self.sentinels {
            wait_for("the Sentinels to report the master as up", || {
                Ok(field(&sentinel.run_command(&["SENTINEL", "MASTER", NAME])?, "flags") == Some("master"))
            })?;
        }
        Ok(())
    }

    fn set_down_after(&self, milliseconds: &str) -> anyhow::Result<()> {
        let set = ["SENTINEL", "SET", NAME, "down-after-milliseconds", milliseconds];
        self.sentinels.iter().try_for_each(|sentinel| sentinel.run_command(&set).map(drop))
    }

    /// Returns the servers, master and replica.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    fn master_port(&self) -> anyhow::Result<u16> {
        self.sentinels.first().context("no Sentinel")?.master_port()
    }
}

impl Sentinel {
    fn start(master: u16) -> anyhow::Result<Self> {
        let (port, directory) = (free_port()?, tempfile::tempdir()?);
        let path = directory.path().join("sentinel.conf");
        let lines = [
            format!("bind 127.0.0.1\nport {port}\ndir {}", directory.path().display()),
            format!("sentinel monitor {NAME} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\nsentinel failover-timeout {NAME} 3000\n"),
        ];
        std::fs::write(&path, lines.join("\n"))?;
        let mut command = Command::new("redis-server");
        command.arg(&path).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot run redis-server")?;
        let sentinel = Self { port, _child: KillOnDrop(child), _directory: directory };
        wait_for("a Sentinel", || Ok(sentinel.run_command(&["PING"])?.contains("PONG")))?;
        Ok(sentinel)
    }

    fn master_port(&self) -> anyhow::Result<u16> {
        let address = self.run_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])?;
        address.lines().last().context("no address")?.parse().context("no port")
    }

    fn run_command(&self, command: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut arguments = vec!["-h", "127.0.0.1", "-p", &port];
        arguments.extend(command);
        cli(&arguments)
    }
}

/// Returns the line after `name`: `redis-cli` prints fields and values on alternating lines.
fn field<'a>(pairs: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = pairs.lines();
    lines.find(|line| *line == name)?;
    lines.next()
}
