//! A DynamoDB to test against: MiniStack, a process of its own on a free loopback port.
//!
//! Invariant: nothing outlives the value, nor this process, however it ends. The emulator is installed once into the build
//! directory, at the versions of `tests/dynamodb/requirements.txt`; where that is not possible a test says so and checks
//! nothing, unless `TWINWAY_TEST_DYNAMODB` is set, as it is where the network is known to be there. Tables are the
//! caller's to make.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use shim::config::{ProcessEnvironment, VariableSource};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::eventually;
use crate::eventually::with_timeout;
use crate::ports::free_address;

/// The variable that makes a missing emulator a failure.
pub const REQUIRED_VARIABLE: &str = "TWINWAY_TEST_DYNAMODB";

/// Runs the emulator as long as standard input is open: this process holds the other end and cannot forget to let go.
const WHILE_INPUT_IS_OPEN: &str = r#""$0" </dev/null & child=$!; cat >/dev/null; kill -KILL $child; wait"#;

/// A running emulator. It holds everything in memory and ends when dropped.
#[derive(Debug)]
pub struct DynamoDb {
    address: SocketAddr,
    _process: Child,
    _directory: TempDir,
}

impl DynamoDb {
    /// The one of this process, started by whoever comes first: a start takes seconds, and tables keep tests apart.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceCell<Option<Arc<DynamoDb>>> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::start().await.map(Arc::new)).await.clone()
    }

    /// Starts one and waits until it answers. `None`, and loud, where it cannot be installed.
    pub async fn start() -> Option<Self> {
        let program = match tokio::task::spawn_blocking(install).await.expect("the installation does not panic") {
            Ok(program) => program,
            Err(failure) => {
                assert!(
                    ProcessEnvironment.read_variable(REQUIRED_VARIABLE).is_none(),
                    "MiniStack could not be installed: {failure}"
                );
                eprintln!("SKIPPED: MiniStack could not be installed, so nothing was checked: {failure}");
                return None;
            }
        };
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let address = free_address();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", WHILE_INPUT_IS_OPEN])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("BIND_HOST", "127.0.0.1")
            .env("SERVICES", "dynamodb,secretsmanager");
        command.env("GATEWAY_PORT", address.port().to_string()).env("HOME", directory.path());
        // A group of its own: a Ctrl-C is for whoever uses the emulator, and it has to outlive them.
        command.current_dir(directory.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the emulator was installed");
        let started = Self { address, _process: process, _directory: directory };
        eventually!("the emulator to answer", started.answers().await.then_some(()));
        Some(started)
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint that an SDK is given.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address).await else { return false };
        let request = "GET /_ministack/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut answer = String::new();
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_string(&mut answer).await
        };
        with_timeout("the emulator's health", exchange).await.is_ok() && answer.starts_with("HTTP/1.1 200")
    }
}

/// Installs the emulator into the build directory unless it is there, and gives the path of its program. Processes that
/// come at the same time wait for each other.
fn install() -> Result<PathBuf, String> {
    let directory = build_directory().join("ministack");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (script, requirements) = (tests.join("scripts/venv.sh"), tests.join("dynamodb/requirements.txt"));
    let output = std::process::Command::new(script).arg(&directory).arg(requirements).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(directory.join("bin/ministack")),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `target`: cargo marks it with a file, wherever in it the executable stands.
fn build_directory() -> PathBuf {
    let own = std::env::current_exe().expect("an executable knows its place");
    let marked = own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    marked.expect("cargo builds into a directory with a CACHEDIR.TAG").to_owned()
}
