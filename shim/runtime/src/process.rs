//! The life of one process of a function, with a Runtime API of its own.
//!
//! ```text
//! bind a loopback port ── spawn ── first /next ── invocations ── exit | timeout | idle | stop ── reap, answer the callers
//! ```
//! The process leads a process group, so that whatever it starts goes with it. Invariant: the endpoint is closed after the
//! process has ended, never before: runtimes that poll concurrently spin when nobody listens. A process that outlives a
//! killed server finds its Runtime API gone at its next call, and ends as it would on Lambda.

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

/// How long a process may take to end by itself (Lambda developer guide, `runtimes-extensions-api`: 2 s with extensions,
/// 0.5 s with internal ones, nothing without).
const TERMINATION_TIMEOUT: Duration = Duration::from_millis(500);
/// How long what a process had sent before its end may take to be read.
const OUTPUT_READ_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs sandbox `id` from its start to its end.
pub(crate) async fn run_sandbox(function: Arc<FunctionState>, id: SandboxId) {
    let launch = function.lock_pool().scheduled_start(id);
    let Some((at, wake)) = launch else { return };
    let begun = tokio::select! {
        () = tokio::time::sleep_until(at) => SandboxProcess::start(&function, id).await,
        () = function.stop.cancelled() => Err(InvokeError::Stopped),
    };
    let end = match begun {
        Ok(process) => process.run_until_exit(&wake).await,
        Err(InvokeError::Stopped) => SandboxExit { status: None, failure: Some(InvokeError::Stopped) },
        Err(failure) => {
            let name = &*function.definition.name;
            tracing::error!(function.name = name, error = %errors::chain(&failure), "a process of a function did not start");
            SandboxExit { status: None, failure: Some(failure) }
        }
    };
    if function.stop.is_cancelled() {
        // Nothing is started in the place of what was stopped.
        function.lock_pool().stop();
    }
    let due = function.lock_pool().remove_exited(Instant::now(), id, end);
    function.start_sandboxes(due);
}

/// A process and what serves it.
struct SandboxProcess {
    function: Arc<FunctionState>,
    id: SandboxId,
    child: Child,
    group: Option<Pid>,
    endpoint: Arc<RuntimeEndpoint>,
    /// Ends the endpoint.
    close: CancellationToken,
    /// The endpoint's connections and the process's output.
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
        let (close, attached) = (CancellationToken::new(), TaskTracker::new());
        attached.spawn(serve_endpoint(listener, endpoint.clone(), attached.clone(), close.clone()));
        forward_output(&endpoint, &mut child, &attached);
        tracing::debug!(
            function.name = function.definition.name,
            process.id = child.id(),
            "a process of a function started"
        );
        Ok(Self { function: function.clone(), id, child, group, endpoint, close, tasks: attached })
    }

    /// Watches the process until it has ended, by itself or because it had to.
    async fn run_until_exit(mut self, wake: &Notify) -> SandboxExit {
        let mut end = SandboxExit::default();
        loop {
            let watch = self.function.lock_pool().check_sandbox(Instant::now(), self.id);
            let until = match watch {
                SandboxAction::CheckAt(until) => until,
                SandboxAction::Kill => {
                    end.failure =
                        Some(InvokeError::function_error("Sandbox.Timedout", "the function did not start in time"));
                    self.log_exit("killed: it took too long");
                    break;
                }
                SandboxAction::Retire => {
                    self.terminate_gracefully("SPINDOWN").await;
                    break;
                }
            };
            tokio::select! {
                status = self.child.wait() => {
                    end.status = status.ok();
                    self.log_exit("ended by itself");
                    break;
                }
                () = self.function.stop.cancelled() => {
                    end.failure = Some(InvokeError::Stopped);
                    self.terminate_gracefully("SPINDOWN").await;
                    break;
                }
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        self.kill_and_reap(&mut end).await;
        end
    }

    /// Asks the process to end and gives it a moment.
    async fn terminate_gracefully(&mut self, reason: &'static str) {
        self.endpoint.notify_shutdown(reason);
        self.signal_group(Signal::TERM);
        // Whatever is left is killed next.
        let _ = tokio::time::timeout(TERMINATION_TIMEOUT, self.child.wait()).await;
    }

    /// Kills what is left of the process and its group, reads its last words, closes the endpoint.
    async fn kill_and_reap(&mut self, end: &mut SandboxExit) {
        self.signal_group(Signal::KILL);
        if let Ok(status) = self.child.wait().await {
            end.status.get_or_insert(status);
        }
        self.tasks.close();
        // The accept loop is one of those attached: an answer that is under way needs no new connection.
        self.close.cancel();
        let _ = tokio::time::timeout(OUTPUT_READ_TIMEOUT, self.tasks.wait()).await;
        self.endpoint.abort_connections();
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }

    fn log_exit(&self, how: &'static str) {
        tracing::info!(
            function.name = self.function.definition.name,
            process.id = self.child.id(),
            how,
            "a process of a function ended"
        );
    }
}

/// Logs what the process writes, as long as it writes.
fn forward_output(endpoint: &Arc<RuntimeEndpoint>, child: &mut Child, attached: &TaskTracker) {
    if let Some(stdout) = child.stdout.take() {
        attached.spawn(forward_stream(endpoint.clone(), stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        attached.spawn(forward_stream(endpoint.clone(), stderr));
    }
}

async fn forward_stream(endpoint: Arc<RuntimeEndpoint>, stream: impl AsyncRead + Unpin) {
    tokio::select! {
        () = output::forward_lines(endpoint.function_name(), stream, || endpoint.current_request_id()) => {}
        // Something that the process has started and that left its group may hold the pipe open for ever.
        () = endpoint.connections_aborted() => {}
    }
}
