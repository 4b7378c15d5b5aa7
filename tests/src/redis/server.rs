//! A single Redis server process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{Certificates, cli, free_port, wait_for};
use crate::child::KillOnDrop;

/// Default file name of a snapshot (`dbfilename`).
const SNAPSHOT: &str = "dump.rdb";

/// Options of a test server; the default keeps nothing on disk.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Appends every write to a file, so that a killed process loses nothing.
    pub append_only: bool,
    /// Allows [`RedisServer::fill_disk`].
    pub fills_disk: bool,
    /// Certificates; the server then accepts TLS only.
    pub tls: Option<Certificates>,
    /// Further settings, as in `redis.conf`.
    pub settings: Vec<(String, String)>,
}

/// Running `redis-server`; killed on drop.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    // Dropped before its data directory.
    child: Option<KillOnDrop>,
    directory: TempDir,
    options: RedisOptions,
}

impl RedisOptions {
    /// Adds a setting.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl RedisServer {
    /// Starts a server with default options.
    ///
    /// # Errors
    /// The server cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts a server and waits until it responds.
    ///
    /// # Errors
    /// The server cannot be started.
    pub fn start_with(options: RedisOptions) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut server = Self { port: free_port()?, directory, options, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL without a password.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Sends a command and returns the output of `redis-cli`.
    ///
    /// # Errors
    /// The server does not respond, or responds with an error.
    pub fn run_command(&self, command: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut arguments = vec!["-h", "127.0.0.1", "-p", &port];
        let authority = self.options.tls.as_ref().map(|tls| tls.authority().display().to_string());
        if let Some(authority) = &authority {
            // The certificate may be one that clients must reject.
            arguments.extend(["--tls", "--insecure", "--cacert", authority]);
        }
        arguments.extend(command);
        cli(&arguments)
    }

    /// Kills the server with SIGKILL; unwritten data is lost.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Restarts the server on the same port with the data of its directory.
    ///
    /// # Errors
    /// The server does not respond in time.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let child =
            self.command().spawn().context("cannot run redis-server; install it with tests/scripts/setup.sh")?;
        self.child = Some(KillOnDrop(child));
        wait_for("redis-server", || Ok(is_up(&self.run_command(&["PING"])?)))
    }

    /// Kills the server and moves its data away, so that it restarts empty. Returns the append-only files with the
    /// lost writes, as [`Self::append_only_files`] does.
    ///
    /// # Errors
    /// The data cannot be moved.
    pub fn discard_data(&mut self) -> anyhow::Result<Vec<PathBuf>> {
        self.kill();
        let lost = tempfile::tempdir_in(self.directory.path())?.keep();
        let mut moved = Vec::new();
        for file in self.append_only_files()? {
            let to = lost.join(file.file_name().context("a file has a name")?);
            std::fs::rename(&file, &to)?;
            moved.push(to);
        }
        // The manifest would refer to the moved files.
        let directory = self.directory.path().join("appendonlydir");
        if directory.is_dir() {
            std::fs::remove_dir_all(directory)?;
        }
        Ok(moved)
    }

    /// Suspends the process: connections stay open, no command is answered.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn suspend(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Continues the process after [`Self::suspend`].
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Makes snapshots fail, so that the server rejects writes (`MISCONF`) until [`Self::save`]. A directory at the
    /// snapshot's path makes them fail even for a process with root privileges.
    ///
    /// # Errors
    /// A snapshot succeeds nevertheless.
    pub fn fail_to_save(&self) -> anyhow::Result<()> {
        let snapshot = self.directory.path().join(SNAPSHOT);
        if snapshot.is_file() {
            std::fs::remove_file(&snapshot)?;
        }
        std::fs::create_dir(snapshot)?;
        // Writes are rejected only if periodic snapshots are configured. No test lasts an hour.
        self.run_command(&["CONFIG", "SET", "save", "3600 1"])?;
        self.run_command(&["BGSAVE"])?;
        wait_for("a save to fail", || self.last_save("err"))
    }

    /// Makes snapshots succeed again after [`Self::fail_to_save`], and saves one.
    ///
    /// # Errors
    /// The snapshot fails.
    pub fn save(&self) -> anyhow::Result<()> {
        std::fs::remove_dir(self.directory.path().join(SNAPSHOT))?;
        self.run_command(&["BGSAVE"])?;
        wait_for("a save", || self.last_save("ok"))
    }

    /// Simulates a full disk: no file of the process can grow. An append-only server without `appendfsync always`
    /// (with which it would exit) then rejects writes (`MISCONF`) until [`Self::free_disk`].
    ///
    /// # Errors
    /// The limit cannot be set.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        self.run_command(&["CONFIG", "SET", "appendfsync", "everysec"])?;
        self.limit_files("1")
    }

    /// Ends [`Self::fill_disk`]: within a second the server writes the pending data and accepts writes.
    ///
    /// # Errors
    /// The limit cannot be set.
    pub fn free_disk(&self) -> anyhow::Result<()> {
        self.limit_files("unlimited")
    }

    /// Limits the size in bytes of the files that the process writes.
    fn limit_files(&self, bytes: &str) -> anyhow::Result<()> {
        let server = self.child.as_ref().context("the server is not running")?;
        let (process, limit) = (format!("--pid={}", server.id()), format!("--fsize={bytes}:"));
        let status = Command::new("prlimit").args([process, limit]).status().context("cannot run prlimit")?;
        anyhow::ensure!(status.success(), "prlimit: {status}");
        Ok(())
    }

    fn last_save(&self, ended: &str) -> anyhow::Result<bool> {
        Ok(self.run_command(&["INFO", "persistence"])?.contains(&format!("rdb_last_bgsave_status:{ended}")))
    }

    /// Returns the files with all writes of an append-only server, oldest first (since Redis 7 a directory of files,
    /// before one file).
    ///
    /// # Errors
    /// The files cannot be listed.
    pub fn append_only_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.directory.path().join("appendonlydir");
        if !directory.is_dir() {
            return Ok(vec![self.directory.path().join("appendonly.aof")]);
        }
        let files =
            std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let mut segments: Vec<_> =
            files.into_iter().filter(|path| path.to_string_lossy().ends_with(".incr.aof")).collect();
        segments.sort_unstable();
        Ok(segments)
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        Ok(self.child.as_ref().context("the server is not running")?.signal(name)?)
    }

    fn command(&self) -> Command {
        let mut command =
            if self.options.fills_disk { command_with_file_limit() } else { Command::new("redis-server") };
        let port = self.port.to_string();
        let (plain, tls) = if self.options.tls.is_some() { ("0", port.as_str()) } else { (port.as_str(), "0") };
        let append_only = if self.options.append_only { "yes" } else { "no" };
        command.args(["--bind", "127.0.0.1", "--port", plain, "--tls-port", tls, "--save", ""]);
        command.args(["--appendonly", append_only, "--appendfsync", "always", "--loglevel", "warning"]);
        command.arg("--dir").arg(self.directory.path());
        if let Some(certificates) = &self.options.tls {
            command.args(["--tls-auth-clients", "no"]);
            command.arg("--tls-cert-file").arg(certificates.certificate());
            command.arg("--tls-key-file").arg(certificates.key());
            command.arg("--tls-ca-cert-file").arg(certificates.authority());
        }
        for (name, value) in &self.options.settings {
            command.arg(format!("--{name}")).args(value.split(' '));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// Returns a server command that ignores SIGXFSZ, so that writes above its limit fail as on a full disk instead of
/// killing the process.
fn command_with_file_limit() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec redis-server \"$@\"", "redis-server"]);
    command
}

/// Returns whether the server responds; one with a password replies `NOAUTH`.
fn is_up(answer: &str) -> bool {
    answer.contains("PONG") || answer.contains("NOAUTH")
}
