//! Standby servers with streaming replication.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, ensure};

use super::{PASSWORD, PostgresOptions, PostgresServer, Programs, USER};

/// Loopback address of a standby server, which has the port of its primary, so that a host name can move between them.
const STANDBY_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

impl PostgresServer {
    /// Copies the server and starts the copy as its standby, on another loopback address and the same port. Returns once
    /// it streams.
    ///
    /// # Errors
    /// The copy fails, or the standby does not start.
    pub fn start_standby(&self) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let programs = Programs::find()?;
        programs.give_ownership(directory.path())?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700))?;
        let mut standby = Self {
            address: STANDBY_ADDRESS,
            port: self.port,
            child: None,
            directory,
            programs,
            options: PostgresOptions { synchronous_standbys: None, ..self.options.clone() },
        };
        standby.copy_from(self)?;
        standby.restart()?;
        Ok(standby)
    }

    /// Returns the address.
    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Returns whether a standby receives the write-ahead log as it is written.
    ///
    /// # Errors
    /// The query fails.
    pub fn has_streaming_standby(&self) -> anyhow::Result<bool> {
        Ok(self.query("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")? == "1")
    }

    fn copy_from(&self, primary: &Self) -> anyhow::Result<()> {
        let mut command = self.programs.run("pg_basebackup");
        command.arg("-D").arg(self.data()).args(["--write-recovery-conf", "--wal-method=stream", "--no-sync"]);
        command.args(["--checkpoint=fast", "-h", &primary.address.to_string(), "-p", &primary.port.to_string()]);
        command.args(["-U", USER]).env("PGPASSWORD", PASSWORD);
        let output = command.output().context("cannot run pg_basebackup")?;
        ensure!(output.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}
