//! The real `twinway` binary as a child process, on ports of its own and a data directory of its own.
//!
//! Invariant: a [`TwinwayServer`] is ready when it is handed out, everything that it writes is kept for assertions, and it is gone
//! when the value is. Nothing of this process's environment reaches it. It shares no code with what it starts.

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

/// A server that runs.
pub struct TwinwayServer {
    launch: ServerLaunch,
    child: Child,
    output: ProcessOutput,
    /// Where clients connect.
    pub traffic: SocketAddr,
    /// Where probes and scrapers connect.
    pub ops: SocketAddr,
}

/// How a server's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerExit {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard error.
    pub stderr: String,
    /// What it wrote to standard output.
    pub stdout: String,
}

impl ServerExit {
    /// How often each text was logged as a warning or an error.
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
    /// A server that has not been started.
    #[must_use]
    pub fn launch() -> ServerLaunch {
        ServerLaunch::new()
    }

    /// The address of its WebSocket API.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("ws://{}/{STAGE}", self.traffic)
    }

    /// A caller of the traffic port, without a token.
    #[must_use]
    pub fn http(&self) -> HttpCaller {
        HttpCaller::with_base_url(&format!("http://{}", self.traffic))
    }

    /// A caller of the ops port.
    #[must_use]
    pub fn ops_client(&self) -> HttpCaller {
        HttpCaller::with_base_url(&format!("http://{}", self.ops))
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.launch.data_dir()
    }

    /// The process's id, while it runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Fails unless the server says that it is alive and ready.
    pub async fn assert_healthy(&self) {
        assert_eq!(self.ops_client().get("/health").await.expect_ok()["status"], "ok");
        assert_eq!(self.ops_client().get("/ready").await.expect_ok()["status"], "ready");
    }

    /// A metric's value as the ops port shows it; `name` with its labels, as they are written there.
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

    /// The memory that the process occupies, in KiB (`VmRSS`, proc(5)).
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells the resident set");
        line.trim().trim_end_matches(" kB").parse().expect("the resident set is a number")
    }

    /// Kills the process as a power cut would: `SIGKILL`.
    pub async fn kill(&mut self) -> ServerExit {
        self.child.start_kill().expect("the server runs");
        self.wait_exit().await
    }

    /// Asks the process to stop: `SIGTERM`. It is still running when this returns.
    pub async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Stops it in its tracks: connections stay open, nothing is answered.
    pub async fn suspend(&self) {
        self.signal("STOP").await;
    }

    /// Lets it go on after [`Self::suspend`].
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Stops it and waits for its end.
    pub async fn stop(&mut self) -> ServerExit {
        self.terminate().await;
        self.wait_exit().await
    }

    /// Waits for the process to end.
    pub async fn wait_exit(&mut self) -> ServerExit {
        let status =
            with_timeout("the server's process to end", self.child.wait()).await.expect("a child can be waited for");
        self.exit(status).await
    }

    /// From its next start on it listens where it does now.
    pub fn keep_addresses(&mut self) {
        let launch = self.launch.clone();
        self.launch = launch.with_env("TWINWAY_LISTEN", self.traffic).with_env("TWINWAY_OPS_LISTEN", self.ops);
    }

    /// Starts it again, on the same data directory and new ports, unless it was told to [`Self::keep_addresses`].
    pub async fn restart(&mut self) {
        assert!(self.child.id().is_none(), "the server still runs");
        *self = self.launch.clone().start().await;
    }

    /// Waits for a log line with this `message` and returns it.
    pub async fn wait_for_log(&self, message: &str) -> Value {
        with_timeout(&format!("the log line {message:?}"), self.output.log_line(message))
            .await
            .expect("the server runs")
    }

    /// Everything that it logged so far.
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
