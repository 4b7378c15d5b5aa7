//! Child processes of a benchmark: servers, with their address and start time, and the load generator.
//!
//! A server never outlives its handle: dropping the handle closes the server's standard input, sends SIGTERM, and
//! kills the process after a timeout. Standard error is inherited; standard output is read to its end, so that no
//! server blocks on it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::child::KillOnDrop;

/// Timeout until a server listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout until a server exits before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Prefix of the address in a server's output.
const LISTENING_PREFIX: &str = "listening on ";

/// Server under test: a program that prints `listening on ADDR` on standard output when it is ready.
#[derive(Clone, Debug)]
pub struct BenchmarkServer {
    /// Name in tables.
    pub name: &'static str,
    /// Program to execute.
    pub program: PathBuf,
    /// Arguments; `{work}` is replaced by a directory of this run.
    pub arguments: Vec<String>,
}

/// CPU pinning of servers and generator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pinning {
    /// Servers on core 0, the generator on core 1.
    Separate,
    /// No pinning: one core, or no `taskset`.
    Free,
}

impl Pinning {
    /// Selects pinning if there are two cores and `taskset` can be executed.
    pub fn detect() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if cores >= 2 && taskset.is_ok_and(|status| status.success()) { Self::Separate } else { Self::Free }
    }

    /// Returns a command for `program` on `core`. `taskset` replaces itself, so the child's process id is the
    /// program's.
    fn command(self, core: &str, program: &PathBuf) -> Command {
        match self {
            Self::Free => Command::new(program),
            Self::Separate => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", core]).arg(program);
                command
            }
        }
    }
}

/// Running server.
pub struct ServerProcess {
    child: KillOnDrop,
    input: Option<ChildStdin>,
    /// Address that it listens on.
    pub address: String,
    /// Time from the start of the process until it listens.
    pub start: Duration,
}

impl ServerProcess {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// The program cannot be executed, exits early, or does not listen in time.
    pub fn start(server: &BenchmarkServer, pinning: Pinning, work: &str) -> anyhow::Result<Self> {
        let started = Instant::now();
        let mut child = pinning
            .command("0", &server.program)
            .args(server.arguments.iter().map(|argument| argument.replace("{work}", work)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {} ({})", server.name, server.program.display()))?;
        let input = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("the child has no standard output")?);
        let mut running = Self { child: KillOnDrop(child), input, address: String::new(), start: Duration::ZERO };
        running.address = first_address(lines).with_context(|| format!("waiting for {} to listen", server.name))?;
        running.start = started.elapsed();
        Ok(running)
    }

    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn wait_exit(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        while Instant::now() < until && matches!(self.child.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.input.take());
        // Dropping the child kills it if the signal fails or is ignored.
        let _ = self.child.signal("TERM");
        self.wait_exit(STOP_TIMEOUT);
    }
}

/// Returns the first address in the output. A thread reads the rest, so that a server with much output does not
/// block.
fn first_address(output: impl BufRead + Send + 'static) -> anyhow::Result<String> {
    let (tx, rx) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once(LISTENING_PREFIX) {
                // Only the first address has a reader; for later lines the channel is full or closed.
                let _ = tx.try_send(address.split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    });
    rx.recv_timeout(START_TIMEOUT).context("the server exited, or did not print `listening on ADDR` in time")
}

/// Runs the generator and parses its report.
///
/// # Errors
/// The generator fails, or its report is not JSON.
pub fn run_load(program: &PathBuf, pinning: Pinning, arguments: &[String]) -> anyhow::Result<serde_json::Value> {
    let output = pinning
        .command("1", program)
        .args(arguments)
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting the generator ({})", program.display()))?;
    ensure!(output.status.success(), "the generator failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("reading the generator's report")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> BenchmarkServer {
        BenchmarkServer {
            name: "shell",
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
        }
    }

    #[test]
    fn a_server_reports_its_address_and_exits_with_its_handle() {
        let server =
            shell("echo starting; echo 'listening on 127.0.0.1:7 now'; cat > {work}/input; echo end > {work}/end");
        let work = tempfile::tempdir().unwrap();
        let running = ServerProcess::start(&server, Pinning::Free, work.path().to_str().unwrap()).unwrap();
        assert_eq!(running.address, "127.0.0.1:7");
        assert!(running.start > Duration::ZERO);
        let pid = running.pid();
        drop(running);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_exits_before_it_listens_is_an_error() {
        let error = ServerProcess::start(&shell("echo no"), Pinning::Free, "").err().unwrap();
        assert!(format!("{error:#}").contains("waiting for shell to listen"), "{error:#}");
    }

    #[test]
    fn a_failing_generator_is_an_error_with_its_message() {
        let arguments = ["-c".to_owned(), "echo refused >&2; exit 1".to_owned()];
        let error = run_load(&"/bin/sh".into(), Pinning::Free, &arguments).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error:#}");
    }
}
