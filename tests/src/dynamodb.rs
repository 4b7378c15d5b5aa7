//! DynamoDB for tests: MiniStack, as a separate process on a free loopback port.
//!
//! The emulator never outlives the value or this process. It is installed once into the build directory, in the
//! versions of `tests/dynamodb/requirements.txt`. If the installation fails, tests report that they were skipped;
//! with `TWINWAY_TEST_DYNAMODB` set, for example where the network is known to be available, they fail. The caller
//! creates the tables.

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

/// Variable that makes a missing emulator a failure.
pub const REQUIRED_VARIABLE: &str = "TWINWAY_TEST_DYNAMODB";

/// Runs the emulator while standard input is open; this process holds the other end, which the kernel closes when it
/// exits.
const WHILE_INPUT_IS_OPEN: &str = r#""$0" </dev/null & child=$!; cat >/dev/null; kill -KILL $child; wait"#;

/// Running emulator with in-memory data; stopped on drop.
#[derive(Debug)]
pub struct DynamoDb {
    address: SocketAddr,
    _process: Child,
    _directory: TempDir,
}

impl DynamoDb {
    /// Returns the shared emulator of this process, started by the first caller: a start takes seconds, and separate
    /// tables isolate the tests.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: OnceCell<Option<Arc<DynamoDb>>> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::start().await.map(Arc::new)).await.clone()
    }

    /// Starts an emulator and waits until it responds. `None`, with a message, if it cannot be installed.
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
        let directory = tempfile::tempdir().expect("a temporary directory can be created");
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
        // A separate process group: Ctrl-C must not stop the emulator before the tests that use it.
        command.current_dir(directory.path()).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("the emulator was installed");
        let started = Self { address, _process: process, _directory: directory };
        eventually!("the emulator to respond", started.is_healthy().await.then_some(()));
        Some(started)
    }

    /// Returns the address of the emulator.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the endpoint URL for an SDK.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn is_healthy(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address).await else { return false };
        let request = "GET /_ministack/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut response = String::new();
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_string(&mut response).await
        };
        with_timeout("the emulator's health", exchange).await.is_ok() && response.starts_with("HTTP/1.1 200")
    }
}

/// Installs the emulator into the build directory if needed and returns the path of its program. Concurrent processes
/// wait for each other.
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

/// Returns cargo's `target` directory, which contains the file CACHEDIR.TAG, from the path of this executable.
fn build_directory() -> PathBuf {
    let executable = std::env::current_exe().expect("the executable has a path");
    let marked = executable.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    marked.expect("cargo builds into a directory with a CACHEDIR.TAG").to_owned()
}
