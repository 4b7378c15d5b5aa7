//! How a server is started: settings, data directory, and what stands between this process and it.

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

/// The secret that every started server signs and verifies tokens with.
pub const SECRET: &str = "the-secret-of-the-test-servers-32";
/// The stage that every started server has.
pub const STAGE: &str = "prod";

/// A server to be started. Cloning shares the data directory.
#[derive(Debug, Clone)]
pub struct ServerLaunch {
    environment: BTreeMap<String, String>,
    wrapper: Vec<OsString>,
    own: Arc<TempDir>,
}

impl ServerLaunch {
    pub(super) fn new() -> Self {
        let own = Arc::new(tempfile::tempdir().expect("a temporary directory can be made"));
        let data_dir = own.path().join("data").display().to_string();
        let environment = [
            ("TWINWAY_LISTEN", "127.0.0.1:0"),
            ("TWINWAY_OPS_LISTEN", "127.0.0.1:0"),
            ("TWINWAY_AUTH_SECRET", SECRET),
            ("TWINWAY_STAGE", STAGE),
            ("TWINWAY_DATA_DIR", &data_dir),
            ("TWINWAY_LOG_FORMAT", "json"),
            // What a client does shows at this level: more to search for what must not be in a log.
            ("RUST_LOG", "info,shim=debug,handlers=debug"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { environment, wrapper: Vec::new(), own }
    }

    /// With an environment variable.
    #[must_use]
    pub fn with_env(mut self, variable: &str, value: impl ToString) -> Self {
        self.environment.insert(variable.to_owned(), value.to_string());
        self
    }

    /// With messages in memory: faster, and nothing survives.
    #[must_use]
    pub fn in_memory(self) -> Self {
        self.with_env("TWINWAY_STORAGE_LOG", "memory")
    }

    /// With a configuration file of this text.
    #[must_use]
    pub fn with_file(self, text: &str) -> Self {
        let path = self.own.path().join("twinway.toml");
        std::fs::write(&path, text).expect("the temporary directory can be written");
        self.with_env("TWINWAY_CONFIG", path.display())
    }

    /// Started by another program, which gets the server's command line as its last arguments and has to become it
    /// (`exec`), so that signals reach it.
    #[must_use]
    pub fn under_program(mut self, program: &[&str]) -> Self {
        self.wrapper = program.iter().map(OsString::from).collect();
        self
    }

    /// The data directory; it need not exist yet.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.environment["TWINWAY_DATA_DIR"].clone().into()
    }

    /// Starts it and waits until it is ready. Fails the test when it ends instead.
    pub async fn start(self) -> TwinwayServer {
        let (mut child, output) = self.spawn();
        let Some(line) = with_timeout("the server to be ready", output.log_line("ready")).await else {
            let status = with_timeout("the server's process to end", child.wait()).await;
            panic!("the server did not start ({status:?}):\n{}", output.stderr());
        };
        let (traffic, ops) = (address(&line, "server.address"), address(&line, "ops.address"));
        TwinwayServer { launch: self, child, output, traffic, ops }
    }

    /// Starts it and waits for its end, which has to come by itself.
    pub async fn expect_start_failure(self) -> ServerExit {
        let (mut child, mut output) = self.spawn();
        let status = with_timeout("the server to give up", child.wait()).await.expect("a child can be waited for");
        output.finish().await;
        ServerExit { code: status.code(), stderr: output.stderr(), stdout: output.stdout() }
    }

    fn spawn(&self) -> (Child, ProcessOutput) {
        let mut line: Vec<OsString> = self.wrapper.clone();
        line.extend([binary().into_os_string(), "serve".into()]);
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).env_clear().envs(&self.environment).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.current_dir(self.own.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{} cannot be started: {error}", line[0].display()));
        let output = ProcessOutput::of(&mut child);
        (child, output)
    }
}

/// The executable beside the one that runs now: tests and their server are of one build.
fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has an executable");
    let folder = own.parent().expect("an executable stands in a folder");
    // Tests stand in target/{profile}/deps, programs in target/{profile}.
    let profile = if folder.ends_with("deps") { folder.parent() } else { None };
    let binary = profile.unwrap_or(folder).join("twinway");
    assert!(
        binary.is_file(),
        "{} is not built: run `make test`, or `cargo build -p shim --bins` first",
        binary.display()
    );
    binary
}

fn address(line: &Value, field: &str) -> SocketAddr {
    let text = line[field].as_str().unwrap_or_else(|| panic!("the ready line has no {field}: {line}"));
    text.parse().unwrap_or_else(|error| panic!("{field} is no address: {error}"))
}
