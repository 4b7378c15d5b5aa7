//! One server.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use tempfile::TempDir;

use super::{Certificates, cli, free_port, wait_for};
use crate::child::KillOnDrop;

/// What a snapshot is called unless told otherwise (`dbfilename`).
const SNAPSHOT: &str = "dump.rdb";

/// How a server differs from a plain one that keeps nothing on disk.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Appends every write to a file, so that a killed process loses nothing.
    pub append_only: bool,
    /// Is to run out of disk: [`RedisServer::fill_disk`] may be called.
    pub fills_disk: bool,
    /// Serves TLS alone, with these certificates.
    pub tls: Option<Certificates>,
    /// Further settings, as in `redis.conf`.
    pub settings: Vec<(String, String)>,
}

/// A running `redis-server`; dropped, it is killed.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    // Dropped before the directory that it writes to.
    child: Option<KillOnDrop>,
    directory: TempDir,
    options: RedisOptions,
}

impl RedisOptions {
    /// The options with one more setting.
    #[must_use]
    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl RedisServer {
    /// Starts a plain server.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_with(options: RedisOptions) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut server = Self { port: free_port()?, directory, options, child: None };
        server.restart()?;
        Ok(server)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its address, without a password.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Sends a command and returns what `redis-cli` printed.
    ///
    /// # Errors
    /// When it is not answered, or with an error.
    pub fn run_command(&self, command: &[&str]) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut arguments = vec!["-h", "127.0.0.1", "-p", &port];
        let authority = self.options.tls.as_ref().map(|tls| tls.authority().display().to_string());
        if let Some(authority) = &authority {
            arguments.extend(["--tls", "--cacert", authority]);
        }
        arguments.extend(command);
        cli(&arguments)
    }

    /// Kills it as the kernel would. What it had not written is lost.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again on the same port, with what its directory still has.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        let child = self.command().spawn().context("redis-server does not run; tests/scripts/setup.sh installs it")?;
        self.child = Some(KillOnDrop(child));
        wait_for("redis-server", || Ok(is_up(&self.run_command(&["PING"])?)))
    }

    /// Kills it and takes its data away: started again, it is empty. Answers where the changes that were lost stand,
    /// as [`Self::append_only_files`] does.
    ///
    /// # Errors
    /// When the data cannot be moved.
    pub fn discard_data(&mut self) -> anyhow::Result<Vec<PathBuf>> {
        self.kill();
        let lost = tempfile::tempdir_in(self.directory.path())?.keep();
        let mut moved = Vec::new();
        for file in self.append_only_files()? {
            let to = lost.join(file.file_name().context("a file has a name")?);
            std::fs::rename(&file, &to)?;
            moved.push(to);
        }
        // What lists the files would miss them.
        let directory = self.directory.path().join("appendonlydir");
        if directory.is_dir() {
            std::fs::remove_dir_all(directory)?;
        }
        Ok(moved)
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn suspend(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets it go on after [`Self::suspend`].
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Has it fail to save, so that it refuses writes (`MISCONF`) until [`Self::save`]: a directory stands where the file is
    /// to be, which stops also who may write everywhere.
    ///
    /// # Errors
    /// When it saves all the same.
    pub fn fail_to_save(&self) -> anyhow::Result<()> {
        let snapshot = self.directory.path().join(SNAPSHOT);
        if snapshot.is_file() {
            std::fs::remove_file(&snapshot)?;
        }
        std::fs::create_dir(snapshot)?;
        // Only who is to save by itself minds that it cannot. No test lasts until then.
        self.run_command(&["CONFIG", "SET", "save", "3600 1"])?;
        self.run_command(&["BGSAVE"])?;
        wait_for("a save to fail", || self.last_save("err"))
    }

    /// Lets it save after [`Self::fail_to_save`], and has it do so.
    ///
    /// # Errors
    /// When it does not.
    pub fn save(&self) -> anyhow::Result<()> {
        std::fs::remove_dir(self.directory.path().join(SNAPSHOT))?;
        self.run_command(&["BGSAVE"])?;
        wait_for("a save", || self.last_save("ok"))
    }

    /// Has its disk be full: no file of its process grows any more. An append-only server that does not sync each write
    /// (`appendfsync always`, with which it ends) refuses writes from then on (`MISCONF`), until [`Self::free_disk`].
    ///
    /// # Errors
    /// When the limit cannot be set.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        self.run_command(&["CONFIG", "SET", "appendfsync", "everysec"])?;
        self.limit_files("1")
    }

    /// Ends [`Self::fill_disk`]: within a second the server has written what it could not, and takes writes.
    ///
    /// # Errors
    /// When the limit cannot be set.
    pub fn free_disk(&self) -> anyhow::Result<()> {
        self.limit_files("unlimited")
    }

    /// Bounds how long a file may become by what its process writes, in bytes.
    fn limit_files(&self, bytes: &str) -> anyhow::Result<()> {
        let server = self.child.as_ref().context("the server is not running")?;
        let (process, limit) = (format!("--pid={}", server.id()), format!("--fsize={bytes}:"));
        let status = Command::new("prlimit").args([process, limit]).status().context("prlimit does not run")?;
        anyhow::ensure!(status.success(), "prlimit: {status}");
        Ok(())
    }

    fn last_save(&self, ended: &str) -> anyhow::Result<bool> {
        Ok(self.run_command(&["INFO", "persistence"])?.contains(&format!("rdb_last_bgsave_status:{ended}")))
    }

    /// The files that every change of an append-only server stands in, oldest first (Redis 7: a directory of them; before:
    /// one).
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn append_only_files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let directory = self.directory.path().join("appendonlydir");
        if !directory.is_dir() {
            return Ok(vec![self.directory.path().join("appendonly.aof")]);
        }
        let files =
            std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        let mut changes: Vec<_> =
            files.into_iter().filter(|path| path.to_string_lossy().ends_with(".incr.aof")).collect();
        changes.sort_unstable();
        Ok(changes)
    }

    fn signal(&self, name: &str) -> anyhow::Result<()> {
        Ok(self.child.as_ref().context("the server is not running")?.signal(name)?)
    }

    fn command(&self) -> Command {
        let mut command = if self.options.fills_disk { on_a_small_disk() } else { Command::new("redis-server") };
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

/// A server to which a write that a limit of its process forbids fails, as one to a full disk does. Others would be ended by it.
fn on_a_small_disk() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec redis-server \"$@\"", "redis-server"]);
    command
}

/// A server that wants a password answers as well as one that does not.
fn is_up(answer: &str) -> bool {
    answer.contains("PONG") || answer.contains("NOAUTH")
}
