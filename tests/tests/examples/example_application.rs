//! An application of `examples/`: installation into the build directory, start with `twinway dev`, and connections.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually;
use tests::eventually::test_timeout;
use tests::ports::free_address;
use tests::server::{ServerLaunch, TwinwayServer};
use tokio::process::Command;

use super::connections_table::{ConnectionsTable, REGION};

/// Time to download and install packages and to compile, which depends on network and machine.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Starts `twinway dev` in the directory `$0`. The Python of an example is that of its virtual environment. The
/// arguments are the command line of the harness: the program, and a command that `dev` replaces.
const START: &str = r#"cd "$0" && if [ -d venv ]; then PATH="$PWD/venv/bin:$PATH"; fi && exec "$1" dev"#;

/// An application of `examples/`.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    pub name: &'static str,
    /// Stage of its template.
    pub stage: &'static str,
}

impl Example {
    /// Starts an application without a table. `None`, with a message, if it cannot be installed.
    pub async fn start(self) -> Option<RunningExample> {
        let directory = self.install().await?;
        let launch = TwinwayServer::launch();
        Some(self.launch(launch, directory, None).await)
    }

    /// Starts an application with its table in an emulator.
    pub async fn start_with_table(self) -> Option<RunningExample> {
        let directory = self.install().await?;
        let table = ConnectionsTable::of_template(&directory).await?;
        let launch = TwinwayServer::launch().with_env("AWS_ENDPOINT_URL_DYNAMODB", table.endpoint());
        Some(self.launch(launch, directory, Some(table)).await)
    }

    async fn launch(self, launch: ServerLaunch, directory: PathBuf, table: Option<ConnectionsTable>) -> RunningExample {
        let folder = directory.to_str().expect("the build directory has a name in UTF-8");
        let launch = launch.with_env("TWINWAY_STAGE", self.stage).with_env("TWINWAY_AUTH_SECRET", "");
        let launch = launch.with_env("AWS_REGION", REGION);
        // Functions receive the address of `@connections` before the server listens.
        let launch = launch.with_env("TWINWAY_MANAGEMENT_LISTEN", free_address());
        let server = launch.under_program(&["sh", "-c", START, folder]).start().await;
        RunningExample { example: self, server, directory, table }
    }

    /// Installs the example with the versions of its lock files; fails with `TWINWAY_TEST_SDKS` where others skip.
    async fn install(self) -> Option<PathBuf> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples").join(self.name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/example.sh");
        let mut install = Command::new(script);
        let output = install.arg(self.name).arg(&directory).stdin(Stdio::null()).kill_on_drop(true).output();
        let output =
            tokio::time::timeout(INSTALL_TIMEOUT, output).await.expect("the installation ends within its timeout");
        let output = output.expect("bash runs the script");
        if output.status.success() {
            return Some(directory.join(self.name));
        }
        let error = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(std::env::var_os("TWINWAY_TEST_SDKS").is_none(), "{} was not installed: {error}", self.name);
        eprintln!("SKIPPED: {} could not be installed, so nothing was checked: {error}", self.name);
        None
    }
}

/// A served application.
pub struct RunningExample {
    example: Example,
    server: TwinwayServer,
    directory: PathBuf,
    table: Option<ConnectionsTable>,
}

impl RunningExample {
    /// Returns the directory of the installed sources.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn table(&self) -> &ConnectionsTable {
        self.table.as_ref().expect("the example was started with a table")
    }

    /// Opens a connection.
    pub async fn connect(&self, dial: HandshakeBuilder) -> ConformanceClient {
        let opened = ConformanceClient::open(&self.endpoint(), dial, test_timeout()).await;
        opened.unwrap_or_else(|error| panic!("the handshake failed: {error:#}\n{}", self.server.log()))
    }

    /// Returns the status of a handshake that is rejected.
    pub async fn rejection(&self, dial: HandshakeBuilder) -> u16 {
        let attempt = ConformanceClient::attempt(&self.endpoint(), dial, test_timeout()).await;
        attempt.expect("the server answers").err().expect("the handshake is rejected").head.status
    }

    /// Waits until a function has written this text.
    pub async fn wait_for_output(&self, text: &str) {
        eventually!(&format!("the output {text:?}"), self.server.log().contains(text).then_some(()));
    }

    /// Stops the server and asserts that no invocation has failed.
    pub async fn stop(mut self) {
        let exit = self.server.stop().await;
        assert_eq!(exit.code, Some(0), "{}", exit.stderr);
        assert!(!exit.stderr.contains("function invocation failed"), "{}", exit.stderr);
    }

    fn endpoint(&self) -> EndpointAddress {
        let url = format!("ws://{}/{}", self.server.traffic, self.example.stage);
        EndpointAddress::parse(&url).expect("the server has an address")
    }
}
