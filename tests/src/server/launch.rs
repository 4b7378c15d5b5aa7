//! Launch of a server: environment, data directory, and an optional wrapper program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{ProcessOutput, ServerExit, TwinwayServer};
use crate::eventually::with_timeout;

/// Token secret of every started server.
pub const SECRET: &str = "the-secret-of-the-test-servers-32";
/// Stage of every started server.
pub const STAGE: &str = "prod";

/// A server to be started. Clones share the data directory.
#[derive(Debug, Clone)]
pub struct ServerLaunch {
    environment: BTreeMap<String, String>,
    wrapper: Vec<OsString>,
    directory: Arc<TempDir>,
}

impl ServerLaunch {
    pub(super) fn new() -> Self {
        let directory = Arc::new(tempfile::tempdir().expect("a temporary directory can be created"));
        let data_dir = directory.path().join("data").display().to_string();
        let environment = [
            ("TWINWAY_LISTEN", "127.0.0.1:0"),
            ("TWINWAY_OPS_LISTEN", "127.0.0.1:0"),
            ("TWINWAY_MANAGEMENT_LISTEN", "127.0.0.1:0"),
            ("TWINWAY_AUTH_SECRET", SECRET),
            ("TWINWAY_STAGE", STAGE),
            ("TWINWAY_DATA_DIR", &data_dir),
            ("TWINWAY_LOG_FORMAT", "json"),
            // Debug level logs client activity: more text to check for secrets.
            ("RUST_LOG", "info,shim=debug,handlers=debug"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { environment, wrapper: Vec::new(), directory }
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_env(mut self, variable: &str, value: impl ToString) -> Self {
        self.environment.insert(variable.to_owned(), value.to_string());
        self
    }

    /// Keeps messages in memory: faster, but lost on restart.
    #[must_use]
    pub fn in_memory(self) -> Self {
        self.with_env("TWINWAY_STORAGE_LOG", "memory")
    }

    /// Writes a configuration file with this text.
    #[must_use]
    pub fn with_file(self, text: &str) -> Self {
        let path = self.directory.path().join("twinway.toml");
        std::fs::write(&path, text).expect("the temporary directory can be written");
        self.with_env("TWINWAY_CONFIG", path.display())
    }

    /// Runs the server through another program, which receives the server's command line as its last arguments and
    /// must `exec` it, so that signals reach the server.
    #[must_use]
    pub fn under_program(mut self, program: &[&str]) -> Self {
        self.wrapper = program.iter().map(OsString::from).collect();
        self
    }

    /// Returns the data directory, which may not exist yet.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.environment["TWINWAY_DATA_DIR"].clone().into()
    }

    /// Starts the server and waits until it is ready. Fails the test when the process exits instead.
    pub async fn start(self) -> TwinwayServer {
        let (mut child, output) = self.spawn();
        let Some(line) = with_timeout("the server to be ready", output.log_line("ready")).await else {
            let status = with_timeout("the server's process to exit", child.wait()).await;
            panic!("the server did not start ({status:?}):\n{}", output.stderr());
        };
        let (traffic, ops) = (address(&line, "server.address"), address(&line, "ops.address"));
        let management = line.get("management.address").map(|_| address(&line, "management.address"));
        TwinwayServer { launch: self, child, output, traffic, ops, management }
    }

    /// Starts the server and waits until its ops port is open; [`TwinwayServer::wait_ready`] waits for the rest.
    pub async fn start_waiting(self) -> TwinwayServer {
        let (mut child, output) = self.spawn();
        let Some(line) = with_timeout("the ops port to be open", output.log_line("starting")).await else {
            let status = with_timeout("the server's process to exit", child.wait()).await;
            panic!("the server did not start ({status:?}):\n{}", output.stderr());
        };
        let ops = address(&line, "ops.address");
        TwinwayServer { launch: self, child, output, traffic: (ops.ip(), 0).into(), ops, management: None }
    }

    /// Runs another command of the program with the server's environment, until it exits.
    pub(super) async fn run_command(&self, arguments: &[&str]) -> ServerExit {
        let mut command = Command::new(binary());
        command.args(arguments).env_clear().envs(&self.environment).current_dir(self.directory.path());
        let output = with_timeout("the command to exit", command.kill_on_drop(true).output()).await;
        let output = output.expect("the program can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ServerExit { code: output.status.code(), stderr: text(&output.stderr), stdout: text(&output.stdout) }
    }

    /// Starts the server and waits until it exits by itself.
    pub async fn expect_start_failure(self) -> ServerExit {
        let (mut child, mut output) = self.spawn();
        let status = with_timeout("the server to exit", child.wait()).await.expect("a child can be waited for");
        output.finish().await;
        ServerExit { code: status.code(), stderr: output.stderr(), stdout: output.stdout() }
    }

    fn spawn(&self) -> (Child, ProcessOutput) {
        let mut line: Vec<OsString> = self.wrapper.clone();
        line.extend([binary().into_os_string(), "serve".into()]);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().envs(&self.environment).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.current_dir(self.directory.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", line[0].display()));
        let output = ProcessOutput::of(&mut child);
        (child, output)
    }
}

/// Returns the `twinway` executable of the same build as this test executable.
fn binary() -> PathBuf {
    let executable = std::env::current_exe().expect("the executable has a path");
    let folder = executable.parent().expect("an executable is in a folder");
    // Tests are in target/{profile}/deps, programs in target/{profile}.
    let profile = if folder.ends_with("deps") { folder.parent() } else { None };
    let binary = profile.unwrap_or(folder).join("twinway");
    assert!(
        binary.is_file(),
        "{} is not built: run `make test`, or `cargo build -p shim --bins` first",
        binary.display()
    );
    binary
}

pub(super) fn address(line: &Value, field: &str) -> SocketAddr {
    let text = line[field].as_str().unwrap_or_else(|| panic!("the ready line has no {field}: {line}"));
    text.parse().unwrap_or_else(|error| panic!("{field} is not an address: {error}"))
}
