//! Real PostgreSQL servers, started by the tests that need them and stopped on drop.
//!
//! Every server has its own directory and a free loopback port; nothing survives a test. PostgreSQL refuses to run as
//! root, so root runs it as the user `postgres`. Queries go through `psql`, so that the harness shares no code with
//! the tested adapter. A missing installation is a failure with an installation hint, never a skipped test.

mod programs;
mod standby;

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use self::programs::Programs;
use crate::child::KillOnDrop;
use crate::redis::{Certificates, free_port};

/// Timeout of a server command on a busy host.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// User that owns the database.
pub const USER: &str = "twinway";
/// Password of [`USER`].
pub const PASSWORD: &str = "pg-secret";

/// Options of a test server.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Certificates for TLS, which is optional for clients.
    pub tls: Option<Certificates>,
    /// Content of `pg_hba.conf` instead of password authentication for all.
    pub access: Option<String>,
    /// Standby servers that must confirm every commit (`synchronous_standby_names`).
    pub synchronous_standbys: Option<String>,
}

/// Running `postgres`; killed on drop.
#[derive(Debug)]
pub struct PostgresServer {
    address: Ipv4Addr,
    port: u16,
    // Dropped before its data directory.
    child: Option<KillOnDrop>,
    directory: TempDir,
    programs: Programs,
    options: PostgresOptions,
}

impl PostgresServer {
    /// Starts a server with default options.
    ///
    /// # Errors
    /// The server cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(PostgresOptions::default())
    }

    /// Creates a server and waits until it accepts queries.
    ///
    /// # Errors
    /// The server cannot be started.
    pub fn start_with(options: PostgresOptions) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let directory = tempfile::tempdir()?;
        programs.give_ownership(directory.path())?;
        let (address, port) = (Ipv4Addr::LOCALHOST, free_port()?);
        let mut server = Self { address, port, directory, programs, options, child: None };
        server.initialize()?;
        server.restart()?;
        Ok(server)
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of the database `postgres`, with user and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}:{}/postgres", self.address, self.port)
    }

    /// Runs SQL as the owner and returns the output of `psql`: values separated by `|`.
    ///
    /// # Errors
    /// The query fails.
    pub fn query(&self, sql: &str) -> anyhow::Result<String> {
        let output = self.psql(sql).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(output.status.success(), "psql {sql:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(printed)
    }

    /// Starts long-running SQL; the caller waits for the process or kills it.
    ///
    /// # Errors
    /// `psql` cannot be started.
    pub fn start_query(&self, sql: &str) -> anyhow::Result<Child> {
        Ok(self.psql(sql).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Kills the server with SIGKILL: data that was not made durable is lost.
    pub fn kill(&mut self) {
        // The server's children detect it and exit.
        self.child = None;
    }

    /// Restarts the server on the same port with the data of its directory.
    ///
    /// # Errors
    /// The server does not accept queries in time.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let started = Instant::now();
        loop {
            // Children of a killed server may hold its shared memory for a moment; until then the server refuses to
            // start.
            if self.child.as_mut().is_none_or(|child| !matches!(child.0.try_wait(), Ok(None))) {
                self.child = Some(KillOnDrop(self.command().spawn()?));
            }
            if self.query("SELECT 1").is_ok() {
                return Ok(());
            }
            if started.elapsed() > COMMAND_TIMEOUT {
                let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
                bail!("the server did not start within {COMMAND_TIMEOUT:?}:\n{log}");
            }
            // Another process can only be polled.
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server cleanly and restarts it as a standby without a primary: read-only until it is promoted.
    ///
    /// # Errors
    /// The server does not stop or start.
    pub fn demote(&mut self) -> anyhow::Result<()> {
        self.stop()?;
        std::fs::write(self.data().join("standby.signal"), "")?;
        self.programs.give_ownership(&self.data().join("standby.signal"))?;
        self.restart()
    }

    /// Makes the server writable after [`Self::demote`], as a failover does.
    ///
    /// # Errors
    /// The promotion fails.
    pub fn promote(&self) -> anyhow::Result<()> {
        let promoted = self.query("SELECT pg_promote()")?;
        ensure!(promoted == "t", "the server was not promoted: {promoted}");
        Ok(())
    }

    /// Stops the server: connections are closed, all data is written and sent to the standby servers ("Shutting down the
    /// server", fast shutdown, PostgreSQL manual).
    ///
    /// # Errors
    /// The server is not running.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the server is not running")?;
        child.signal("INT")?;
        child.0.wait()?;
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn initialize(&self) -> anyhow::Result<()> {
        let password = self.directory.path().join("password");
        std::fs::write(&password, PASSWORD)?;
        self.programs.give_ownership(&password)?;
        let mut command = self.programs.run("initdb");
        command.arg("-D").arg(self.data()).args(["-U", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        command.args(["--no-sync", "--wal-segsize=1"]).arg(format!("--pwfile={}", password.display()));
        let output = command.output().context("cannot run initdb")?;
        ensure!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        if let Some(access) = &self.options.access {
            std::fs::write(self.data().join("pg_hba.conf"), access)?;
        }
        if let Some(tls) = &self.options.tls {
            for (from, to) in
                [(tls.certificate(), "server.crt"), (tls.key(), "server.key"), (tls.authority(), "root.crt")]
            {
                let to = self.data().join(to);
                std::fs::copy(from, &to)?;
                std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600))?;
                self.programs.give_ownership(&to)?;
            }
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = self.programs.run("postgres");
        command.arg("-D").arg(self.data()).args(["-h", &self.address.to_string(), "-p", &self.port.to_string()]);
        command.args(["-k", ""]);
        let ssl = if self.options.tls.is_some() { "on" } else { "off" };
        for setting in
            ["shared_buffers=16MB", "max_connections=60", "autovacuum=off", "max_wal_size=32MB", "hot_standby=on"]
        {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("ssl={ssl}")]);
        if let Some(standbys) = &self.options.synchronous_standbys {
            command.args(["-c", &format!("synchronous_standby_names={standbys}")]);
        }
        if self.options.tls.is_some() {
            command.args(["-c", "ssl_ca_file=root.crt"]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }

    fn psql(&self, sql: &str) -> Command {
        let mut command = Command::new(self.programs.path("psql"));
        command.args([
            "-X",
            "-At",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            &self.address.to_string(),
            "-U",
            USER,
            "-d",
            "postgres",
            "-c",
            sql,
        ]);
        command.args(["-p", &self.port.to_string()]).env("PGPASSWORD", PASSWORD).stdin(Stdio::null());
        command
    }
}
