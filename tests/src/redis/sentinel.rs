//! A master with replicas, watched by Sentinels that replace it when it dies.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

use super::server::{RedisOptions, RedisServer};
use super::{cli, free_port, wait_for};
use crate::child::KillOnDrop;

/// What the Sentinels call the master.
const NAME: &str = "mymaster";
/// How long a master may be silent before the Sentinels take it for dead: so long that none does on a busy machine.
const DOWN_AFTER: &str = "60000";
/// The same once it is dead indeed.
const DOWN_AT_ONCE: &str = "500";

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
    /// Starts everything and waits until the replica follows and the Sentinels agree.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let options = RedisOptions { append_only: true, ..RedisOptions::default() };
        let master = RedisServer::start_with(options.clone())?;
        let replica =
            RedisServer::start_with(options.with_setting("replicaof", &format!("127.0.0.1 {}", master.port())))?;
        // A replica that has not finished its first copy is never promoted.
        wait_for("the replica", || {
            Ok(replica.run_command(&["INFO", "replication"])?.contains("master_link_status:up"))
        })?;
        let sentinels = (0..3).map(|_| Sentinel::start(master.port())).collect::<anyhow::Result<Vec<_>>>()?;
        for sentinel in &sentinels {
            wait_for("the Sentinels", || {
                let known = sentinel.ask(&["SENTINEL", "MASTER", NAME])?;
                Ok(field(&known, "num-slaves") == Some("1") && field(&known, "num-other-sentinels") == Some("2"))
            })?;
        }
        Ok(Self { servers: vec![master, replica], sentinels })
    }

    /// The Sentinels' addresses.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port)).collect()
    }

    /// Kills the master and waits until the Sentinels name the other server.
    ///
    /// # Errors
    /// When they do not.
    pub fn fail_over(&mut self) -> anyhow::Result<()> {
        let before = self.master_port()?;
        let master = self.servers.iter_mut().find(|server| server.port() == before).context("the master is unknown")?;
        master.kill();
        self.set_down_after(DOWN_AT_ONCE)?;
        for sentinel in &self.sentinels {
            wait_for("the failover", || Ok(sentinel.master_port()? != before))?;
        }
        let after = self.master_port()?;
        let promoted = self.servers.iter().find(|server| server.port() == after).context("the master is unknown")?;
        wait_for("the promotion", || Ok(promoted.run_command(&["INFO", "replication"])?.contains("role:master")))?;
        self.set_down_after(DOWN_AFTER)?;
        // One that was found silent for a moment meanwhile is not named to clients.
        for sentinel in &self.sentinels {
            wait_for("the Sentinels to trust the master", || {
                Ok(field(&sentinel.ask(&["SENTINEL", "MASTER", NAME])?, "flags") == Some("master"))
            })?;
        }
        Ok(())
    }

    fn set_down_after(&self, milliseconds: &str) -> anyhow::Result<()> {
        let set = ["SENTINEL", "SET", NAME, "down-after-milliseconds", milliseconds];
        self.sentinels.iter().try_for_each(|sentinel| sentinel.ask(&set).map(drop))
    }

    /// The servers, master and replica.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    fn master_port(&self) -> anyhow::Result<u16> {
        self.sentinels.first().context("there is no Sentinel")?.master_port()
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
        let child = command.spawn().context("redis-server does not run")?;
        let sentinel = Self { port, _child: KillOnDrop(child), _directory: directory };
        wait_for("a Sentinel", || Ok(sentinel.ask(&["PING"])?.contains("PONG")))?;
        Ok(sentinel)
    }

    fn master_port(&self) -> anyhow::Result<u16> {
        let address = self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])?;
        address.lines().last().context("no address")?.parse().context("no port")
    }

    fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut arguments = vec!["-h", "127.0.0.1", "-p", &port];
        arguments.extend(command);
        cli(&arguments)
    }
}

/// The line behind the one that is `name`: `redis-cli` prints pairs so.
fn field<'a>(pairs: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = pairs.lines();
    lines.find(|line| *line == name)?;
    lines.next()
}
