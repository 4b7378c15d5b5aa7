//! Redis master with replicas, monitored by Sentinels that fail over when the master dies or on request.

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

/// A master, its replicas, and Sentinels.
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
    /// Starts a master, a replica and three Sentinels, and waits until the replica has synchronized and the Sentinels
    /// agree.
    ///
    /// # Errors
    /// A process does not become ready.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(1, 3)
    }

    /// Starts these numbers of replicas and Sentinels, as [`Self::start`] does.
    ///
    /// # Errors
    /// A process does not become ready.
    pub fn start_with(replicas: usize, sentinels: usize) -> anyhow::Result<Self> {
        let options = RedisOptions { append_only: true, ..RedisOptions::default() };
        // An append-only file that is never rewritten shows every write.
        let options = options.with_setting("auto-aof-rewrite-percentage", "0");
        let mut servers = vec![RedisServer::start_with(options.clone())?];
        let port = servers[0].port();
        for _ in 0..replicas {
            let options = options.clone().with_setting("replicaof", &format!("127.0.0.1 {port}"));
            servers.push(RedisServer::start_with(options)?);
        }
        // A replica that has not finished its first synchronization is never promoted.
        for replica in &servers[1..] {
            wait_for("a replica", || {
                Ok(replica.run_command(&["INFO", "replication"])?.contains("master_link_status:up"))
            })?;
        }
        let quorum = sentinels / 2 + 1;
        let sentinels = (0..sentinels).map(|_| Sentinel::start(port, quorum)).collect::<anyhow::Result<Vec<_>>>()?;
        let (replicas, others) = (replicas.to_string(), (sentinels.len() - 1).to_string());
        for sentinel in &sentinels {
            wait_for("the Sentinels", || {
                let known = sentinel.run_command(&["SENTINEL", "MASTER", NAME])?;
                Ok(field(&known, "num-slaves") == Some(&replicas)
                    && field(&known, "num-other-sentinels") == Some(&others))
            })?;
        }
        Ok(Self { servers, sentinels })
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

    /// Asks a Sentinel for a planned failover, and returns at once. For about ten seconds after the promotion of the
    /// replica, the former master calls itself master and accepts writes, all of which are lost.
    ///
    /// # Errors
    /// The Sentinel rejects the failover.
    pub fn begin_planned_failover(&self) -> anyhow::Result<()> {
        let sentinel = self.sentinels.first().context("no Sentinel")?;
        // A Sentinel that has just started answers `NOGOODSLAVE` until it has checked the replica.
        wait_for("a Sentinel that starts the failover", || {
            Ok(sentinel.run_command(&["SENTINEL", "FAILOVER", NAME]).is_ok_and(|reply| reply.trim() == "OK"))
        })
    }

    /// Waits until the servers other than `former` have a master that `former`'s server follows.
    ///
    /// # Errors
    /// The failover does not complete in time.
    pub fn wait_demoted(&self, former: u16) -> anyhow::Result<()> {
        let server = self.servers.iter().find(|server| server.port() == former).context("the master is unknown")?;
        wait_for("the demotion of the former master", || {
            Ok(server.run_command(&["INFO", "replication"])?.contains("master_link_status:up"))
        })
    }

    /// Waits until a server follows the master with this port.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait_follows(&self, server: usize, master: u16) -> anyhow::Result<()> {
        wait_for("a replica to follow its master", || {
            let state = self.servers[server].run_command(&["INFO", "replication"])?;
            Ok(state.contains(&format!("master_port:{master}")) && state.contains("master_link_status:up"))
        })
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

    /// Returns the servers for tests that suspend or kill them.
    pub fn servers_mut(&mut self) -> &mut [RedisServer] {
        &mut self.servers
    }

    /// Returns the port of the master, according to the first Sentinel.
    ///
    /// # Errors
    /// The Sentinel does not respond.
    pub fn master_port(&self) -> anyhow::Result<u16> {
        self.sentinels.first().context("no Sentinel")?.master_port()
    }
}

impl Sentinel {
    fn start(master: u16, quorum: usize) -> anyhow::Result<Self> {
        let (port, directory) = (free_port()?, tempfile::tempdir()?);
        let path = directory.path().join("sentinel.conf");
        let lines = [
            format!("bind 127.0.0.1\nport {port}\ndir {}", directory.path().display()),
            format!("sentinel monitor {NAME} 127.0.0.1 {master} {quorum}"),
            format!("sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\nsentinel failover-timeout {NAME} 30000\n"),
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
