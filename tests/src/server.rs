//! The real `twinway` binary as a child process, with its own ports and data directory.
//!
//! A [`TwinwayServer`] is ready when it is returned, its output is captured for assertions, and it is killed on drop.
//! It does not inherit this process's environment, and the harness shares no code with it.

mod launch;
mod output;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde_json::Value;
use tokio::process::{Child, Command};

pub use self::launch::{SECRET, STAGE, ServerLaunch};
pub use self::output::ProcessOutput;
use crate::client::http::HttpCaller;
use crate::eventually;
use crate::eventually::with_timeout;

/// Running server.
pub struct TwinwayServer {
    launch: ServerLaunch,
    child: Child,
    output: ProcessOutput,
    /// Address for client connections.
    pub traffic: SocketAddr,
    /// Address of the health checks and of the metrics.
    pub ops: SocketAddr,
    /// Address of unsigned `@connections` calls; `None` without such a listener.
    pub management: Option<SocketAddr>,
}

/// Exit of a server process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerExit {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Captured standard error.
    pub stderr: String,
    /// Captured standard output.
    pub stdout: String,
}

impl ServerExit {
    /// Returns the number of warnings and errors per log message.
    #[must_use]
    pub fn warnings(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let lines = self.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for line in lines.filter(|line| line["level"] == "WARN" || line["level"] == "ERROR") {
            *counts.entry(line["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        counts
    }
}

impl TwinwayServer {
    /// Returns the launch of a server, to be configured and started.
    #[must_use]
    pub fn launch() -> ServerLaunch {
        ServerLaunch::new()
    }

    /// Returns the URL of the WebSocket API.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("ws://{}/{STAGE}", self.traffic)
    }

    /// Returns an HTTP client of the traffic port, without a token.
    #[must_use]
    pub fn http(&self) -> HttpCaller {
        HttpCaller::with_base_url(&format!("http://{}", self.traffic))
    }

    /// Returns an HTTP client of the listener of unsigned `@connections` calls.
    ///
    /// # Panics
    /// The server has no such listener.
    #[must_use]
    pub fn local_management(&self) -> HttpCaller {
        let address = self.management.expect("the server has a listener of unsigned calls");
        HttpCaller::with_base_url(&format!("http://{address}"))
    }

    /// Returns an HTTP client of the ops port.
    #[must_use]
    pub fn ops_client(&self) -> HttpCaller {
        HttpCaller::with_base_url(&format!("http://{}", self.ops))
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.launch.data_dir()
    }

    /// Returns the id of the running process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server is running")
    }

    /// Asserts that the server reports itself healthy and ready.
    pub async fn assert_healthy(&self) {
        assert_eq!(self.ops_client().get("/health").await.expect_ok()["status"], "ok");
        assert_eq!(self.ops_client().get("/ready").await.expect_ok()["status"], "ready");
    }

    /// Returns a metric's value from the ops port; `name` includes the labels as exposed there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let reply = self.ops_client().get("/metrics").await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().expect("a metric's value is a number"))
    }

    /// Waits until a metric has this value.
    pub async fn wait_for_metric(&self, name: &str, value: f64) {
        eventually!(&format!("{name} to be {value}"), (self.metric(name).await == Some(value)).then_some(()));
    }

    /// Returns the resident memory of the process in KiB (`VmRSS`, proc(5)).
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux reports the resident set");
        line.trim().trim_end_matches(" kB").parse().expect("the resident set is a number")
    }

    /// Kills the process with `SIGKILL`.
    pub async fn kill(&mut self) -> ServerExit {
        self.child.start_kill().expect("the server is running");
        self.wait_exit().await
    }

    /// Sends `SIGTERM` and returns while the process is still running.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Suspends the process: connections stay open, nothing is answered.
    pub async fn suspend(&self) {
        self.signal("STOP").await;
    }

    /// Continues the process after [`Self::suspend`].
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Sends `SIGTERM` and waits for the exit.
    pub async fn stop(&mut self) -> ServerExit {
        self.terminate().await;
        self.wait_exit().await
    }

    /// Waits until the process exits.
    pub async fn wait_exit(&mut self) -> ServerExit {
        let status =
            with_timeout("the server's process to exit", self.child.wait()).await.expect("a child can be waited for");
        self.exit(status).await
    }

    /// Keeps the current addresses at the next start.
    pub fn keep_addresses(&mut self) {
        let launch = self.launch.clone();
        self.launch = launch.with_env("TWINWAY_LISTEN", self.traffic).with_env("TWINWAY_OPS_LISTEN", self.ops);
    }

    /// Restarts the server with the same data directory and new ports, unless [`Self::keep_addresses`] was called.
    pub async fn restart(&mut self) {
        assert!(self.child.id().is_none(), "the server is still running");
        *self = self.launch.clone().start().await;
    }

    /// Waits until a server that was started with [`ServerLaunch::start_waiting`] accepts connections.
    pub async fn wait_ready(&mut self) {
        let line = self.wait_for_log("ready").await;
        self.traffic = launch::address(&line, "server.address");
    }

    /// Runs another command of the program with the server's environment, until it exits.
    pub async fn run_command(&self, arguments: &[&str]) -> ServerExit {
        self.launch.run_command(arguments).await
    }

    /// Waits for a log line with this `message` and returns it.
    pub async fn wait_for_log(&self, message: &str) -> Value {
        with_timeout(&format!("the log line {message:?}"), self.output.log_line(message))
            .await
            .expect("the server is running")
    }

    /// Returns the log output so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.output.stderr()
    }

    async fn signal(&self, name: &str) {
        let kill = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().await;
        assert!(kill.is_ok_and(|status| status.success()), "kill(1) could not send SIG{name}");
    }

    async fn exit(&mut self, status: ExitStatus) -> ServerExit {
        self.output.finish().await;
        ServerExit { code: status.code(), stderr: self.output.stderr(), stdout: self.output.stdout() }
    }
}
