//! Child processes of a benchmark: servers, which say where they listen and how long they took, and the generator.
//!
//! Invariant: a server never outlives its handle. It is asked to end by closing its standard input and by SIGTERM, and is
//! killed when it does not. Standard error is passed through; standard output is read to its end, so no server blocks on it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::child::KillOnDrop;

/// How long a server may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a server may take to end before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What a server prints before its address.
const LISTENING_PREFIX: &str = "listening on ";

/// A server under test: a program that prints `listening on ADDR` on standard output when it is ready.
#[derive(Clone, Debug)]
pub struct BenchmarkServer {
    /// Its name in tables.
    pub name: &'static str,
    /// What to execute.
    pub program: PathBuf,
    /// Its arguments; `{work}` becomes a directory of this run.
    pub arguments: Vec<String>,
}

/// The core that a process is bound to, if the machine has one for the server and another for the generator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pinning {
    /// Servers on core 0, the generator on core 1.
    Separate,
    /// No binding: one core, or no `taskset`.
    Free,
}

impl Pinning {
    /// Binds if there are two cores and `taskset` can be executed.
    pub fn detect() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if cores >= 2 && taskset.is_ok_and(|status| status.success()) { Self::Separate } else { Self::Free }
    }

    /// A command for `program` on that core. `taskset` replaces itself, so the child's process id is the program's.
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

/// A server that runs.
pub struct ServerProcess {
    child: KillOnDrop,
    input: Option<ChildStdin>,
    /// Where it listens.
    pub address: String,
    /// From starting the process to its being ready.
    pub start: Duration,
}

impl ServerProcess {
    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be executed, ends, or does not listen in time.
    pub fn start(server: &BenchmarkServer, pinning: Pinning, work: &str) -> anyhow::Result<Self> {
        let began = Instant::now();
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
        running.start = began.elapsed();
        Ok(running)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn wait_exit(&mut self, patience: Duration) {
        let until = Instant::now() + patience;
        while Instant::now() < until && matches!(self.child.0.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.input.take());
        // The handle kills one that could not be told, or that does not heed it.
        let _ = self.child.signal("TERM");
        self.wait_exit(STOP_DEADLINE);
    }
}

/// The address of the first line that names one. A thread reads on to the end, so that a chatty server does not block.
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
    rx.recv_timeout(START_DEADLINE).context("it ended, or did not print `listening on ADDR` in time")
}

/// Runs the generator and takes its report.
///
/// # Errors
/// When it fails, or its report is not JSON.
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
    fn a_server_says_where_it_listens_and_ends_with_its_handle() {
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
    fn a_server_that_ends_before_it_listens_is_an_error() {
        let error = ServerProcess::start(&shell("echo no"), Pinning::Free, "").err().unwrap();
        assert!(format!("{error:#}").contains("waiting for shell to listen"), "{error:#}");
    }

    #[test]
    fn a_failing_generator_is_an_error_with_its_reason() {
        let arguments = ["-c".to_owned(), "echo refused >&2; exit 1".to_owned()];
        let error = run_load(&"/bin/sh".into(), Pinning::Free, &arguments).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error:#}");
    }
}
