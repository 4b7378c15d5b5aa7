//! Life cycle of one process of a function and of its Runtime API endpoint.
//!
//! ```text
//! bind loopback port ── spawn ── first /next ── invocations ── exit | timeout | idle | stop ── reap, fail callers
//! ```
//! The process leads a process group, so that its children are killed with it. The endpoint is closed after the process
//! has exited, never before, because runtimes that poll concurrently spin when the connection is refused. A process
//! that outlives a killed server cannot reach its Runtime API at its next call, and exits as it would on Lambda.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncRead;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::endpoint::{RuntimeEndpoint, serve_endpoint};
use crate::invocation::InvokeError;
use crate::output;
use crate::pool::{SandboxAction, SandboxExit, SandboxId};
use crate::shared::FunctionState;

/// Time that a process has to exit after SIGTERM (Lambda developer guide, `runtimes-extensions-api`: 2 s with external
/// extensions, 0.5 s with internal ones, none without).
const TERMINATION_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum time for reading the output and the requests that a process sent before its exit.
const OUTPUT_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Starts the process of sandbox `id`, supervises it until it exits, and removes the sandbox from the pool.
pub(crate) async fn run_sandbox(function: Arc<FunctionState>, id: SandboxId) {
    let launch = function.lock_pool().scheduled_start(id);
    let Some((at, wake)) = launch else { return };
    let started = tokio::select! {
        () = tokio::time::sleep_until(at) => SandboxProcess::start(&function, id).await,
        () = function.stop.cancelled() => Err(InvokeError::Stopped),
    };
    let exit = match started {
        Ok(process) => process.run_until_exit(&wake).await,
        Err(InvokeError::Stopped) => SandboxExit { status: None, failure: Some(InvokeError::Stopped) },
        Err(failure) => {
            let name = &*function.definition.name;
            tracing::error!(function.name = name, error = %errors::chain(&failure), "function process start failed");
            SandboxExit { status: None, failure: Some(failure) }
        }
    };
    if function.stop.is_cancelled() {
        // Stop the pool first, so that it does not replace the sandbox.
        function.lock_pool().stop();
    }
    let to_start = function.lock_pool().remove_exited(Instant::now(), id, exit);
    function.start_sandboxes(to_start);
}

/// A process with its endpoint.
struct SandboxProcess {
    function: Arc<FunctionState>,
    id: SandboxId,
    child: Child,
    group: Option<Pid>,
    endpoint: Arc<RuntimeEndpoint>,
    /// Closes the endpoint's listener.
    close: CancellationToken,
    /// Tasks of the endpoint's connections and of the process's output.
    tasks: TaskTracker,
}

impl SandboxProcess {
    async fn start(function: &Arc<FunctionState>, id: SandboxId) -> Result<Self, InvokeError> {
        let failed =
            |error: std::io::Error| InvokeError::function_error("Runtime.InvalidEntrypoint", error.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let program = &function.definition.program;
        let mut command = Command::new(&program.executable);
        command.args(&program.arguments).current_dir(&program.task_root);
        command.env_clear().envs(function.definition.environment_variables(address));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let endpoint = Arc::new(RuntimeEndpoint::new(function.clone(), id));
        let (close, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve_endpoint(listener, endpoint.clone(), tasks.clone(), close.clone()));
        forward_output(&endpoint, &mut child, &tasks);
        tracing::debug!(function.name = function.definition.name, process.id = child.id(), "function process started");
        Ok(Self { function: function.clone(), id, child, group, endpoint, close, tasks })
    }

    /// Supervises the process until it has exited: by itself, after a timeout, or when it is no longer needed.
    async fn run_until_exit(mut self, wake: &Notify) -> SandboxExit {
        let mut exit = SandboxExit::default();
        loop {
            let action = self.function.lock_pool().check_sandbox(Instant::now(), self.id);
            let next_check = match action {
                SandboxAction::CheckAt(at) => at,
                SandboxAction::Kill => {
                    exit.failure =
                        Some(InvokeError::function_error("Sandbox.Timedout", "function initialization timed out"));
                    self.log_exit("killed after timeout");
                    break;
                }
                SandboxAction::Retire => {
                    self.terminate_gracefully("SPINDOWN").await;
                    break;
                }
            };
            tokio::select! {
                status = self.child.wait() => {
                    exit.status = status.ok();
                    self.log_exit("exited");
                    break;
                }
                () = self.function.stop.cancelled() => {
                    exit.failure = Some(InvokeError::Stopped);
                    self.terminate_gracefully("SPINDOWN").await;
                    break;
                }
                () = wake.notified() => {}
                () = tokio::time::sleep_until(next_check) => {}
            }
        }
        self.kill_and_reap(&mut exit).await;
        exit
    }

    /// Sends SHUTDOWN and SIGTERM, and waits up to [`TERMINATION_TIMEOUT`] for the exit.
    async fn terminate_gracefully(&mut self, reason: &'static str) {
        self.endpoint.notify_shutdown(reason);
        self.signal_group(Signal::TERM);
        // After a timeout, `kill_and_reap` kills the group.
        let _ = tokio::time::timeout(TERMINATION_TIMEOUT, self.child.wait()).await;
    }

    /// Kills the process group, reaps the process, reads its remaining output, and closes the endpoint.
    async fn kill_and_reap(&mut self, exit: &mut SandboxExit) {
        self.signal_group(Signal::KILL);
        if let Ok(status) = self.child.wait().await {
            exit.status.get_or_insert(status);
        }
        self.tasks.close();
        // Ends the accept loop, which is one of the tasks; a response in progress needs no new connection.
        self.close.cancel();
        let _ = tokio::time::timeout(OUTPUT_READ_TIMEOUT, self.tasks.wait()).await;
        self.endpoint.abort_connections();
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails when the group has exited already.
            let _ = kill_process_group(group, signal);
        }
    }

    fn log_exit(&self, reason: &'static str) {
        tracing::info!(
            function.name = self.function.definition.name,
            process.id = self.child.id(),
            reason,
            "function process exited"
        );
    }
}

/// Forwards the process's output to the log until it ends.
fn forward_output(endpoint: &Arc<RuntimeEndpoint>, child: &mut Child, tasks: &TaskTracker) {
    if let Some(stdout) = child.stdout.take() {
        tasks.spawn(forward_stream(endpoint.clone(), stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tasks.spawn(forward_stream(endpoint.clone(), stderr));
    }
}

async fn forward_stream(endpoint: Arc<RuntimeEndpoint>, stream: impl AsyncRead + Unpin) {
    tokio::select! {
        () = output::forward_lines(endpoint.function_name(), stream, || endpoint.current_request_id()) => {}
        // A descendant that left the process group may keep the pipe open indefinitely.
        () = endpoint.connections_aborted() => {}
    }
}
