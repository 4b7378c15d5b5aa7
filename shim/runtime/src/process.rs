//! Life cycle of one process of a function and of its Runtime API endpoint.
//!
//! ```text
//! bind loopback port ── spawn ── first /next ── invocations ── exit | timeout | idle | stop ── reap, fail callers
//! ```
//! The process leads a process group, and a supervisor ends it and its descendants with the server
//! ([`crate::supervisor`]). The endpoint is closed after the process has exited, never before, because runtimes that
//! poll concurrently spin when the connection is refused.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::endpoint::{RuntimeEndpoint, serve_endpoint};
use crate::environment::{SandboxFacts, environment_variables};
use crate::extension_process::ExtensionProcesses;
use crate::function_process::{FunctionProcess, ProcessLaunch};
use crate::ids::random_token;
use crate::invocation::{InvokeError, describe_exit};
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
        Err(InvokeError::Stopped) => SandboxExit { failure: Some(InvokeError::Stopped), ..SandboxExit::default() },
        Err(failure) => {
            let name = &*function.name;
            tracing::error!(function.name = name, error = %errors::chain(&failure), "function process start failed");
            SandboxExit { failure: Some(failure), ..SandboxExit::default() }
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
    process: FunctionProcess,
    extensions: ExtensionProcesses,
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
        let definition = function.definition();
        let facts = SandboxFacts {
            api: address,
            started_ms: (function.clock)(),
            log_stream_id: random_token(),
            metadata_token: random_token(),
        };
        let endpoint = Arc::new(RuntimeEndpoint::new(function.clone(), definition.clone(), id, facts.clone()));
        let (close, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve_endpoint(listener, endpoint.clone(), tasks.clone(), close.clone()));
        let started = start_processes(&definition, &facts, &endpoint).await;
        let (extensions, mut process) = started.inspect_err(|_| {
            close.cancel();
            endpoint.abort_connections();
        })?;
        forward_output(&endpoint, &mut process, &tasks);
        tracing::debug!(function.name = function.name, process.id = process.id(), "function process started");
        Ok(Self { function: function.clone(), id, process, extensions, endpoint, close, tasks })
    }

    /// Supervises the process until it has exited: by itself, after a timeout, or when it is no longer needed.
    async fn run_until_exit(mut self, wake: &Notify) -> SandboxExit {
        let mut exit = SandboxExit::default();
        loop {
            let action = self.function.lock_pool().check_sandbox(Instant::now(), self.id);
            let next_check = match action {
                SandboxAction::CheckAt(at) => at,
                SandboxAction::Kill => {
                    exit.init_timed_out = true;
                    self.log_exit("killed after timeout", None);
                    break;
                }
                SandboxAction::Retire => {
                    self.terminate_gracefully("spindown").await;
                    break;
                }
            };
            tokio::select! {
                status = self.process.wait() => {
                    exit.status = status.ok();
                    self.log_exit("exited", exit.status);
                    break;
                }
                () = self.function.stop.cancelled() => {
                    exit.failure = Some(InvokeError::Stopped);
                    self.terminate_gracefully("spindown").await;
                    break;
                }
                () = self.extensions.exited() => {
                    exit.failure = Some(ExtensionProcesses::exit_error());
                    self.log_exit("killed after the exit of an extension", None);
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
        self.process.terminate();
        // After a timeout, `kill_and_reap` kills the process.
        let _ = tokio::time::timeout(TERMINATION_TIMEOUT, self.process.wait()).await;
        if !self.extensions.is_empty() {
            self.extensions.stop().await;
        }
    }

    /// Kills the process and its descendants, reaps it, reads its remaining output, and closes the endpoint.
    async fn kill_and_reap(&mut self, exit: &mut SandboxExit) {
        if let Some(status) = self.process.kill().await {
            exit.status.get_or_insert(status);
        }
        if !self.extensions.is_empty() {
            self.endpoint.notify_shutdown(if exit.init_timed_out { "timeout" } else { "failure" });
            self.extensions.stop().await;
        }
        self.tasks.close();
        // Ends the accept loop, which is one of the tasks; a response in progress needs no new connection.
        self.close.cancel();
        let _ = tokio::time::timeout(OUTPUT_READ_TIMEOUT, self.tasks.wait()).await;
        self.endpoint.abort_connections();
    }

    fn log_exit(&self, reason: &'static str, status: Option<ExitStatus>) {
        tracing::info!(
            function.name = self.function.name,
            process.id = self.process.id(),
            process.exit = status.map(describe_exit),
            reason,
            "function process exited"
        );
    }
}

/// Starts the extensions, and then the runtime.
async fn start_processes(
    definition: &FunctionDefinition,
    facts: &SandboxFacts,
    endpoint: &Arc<RuntimeEndpoint>,
) -> Result<(ExtensionProcesses, FunctionProcess), InvokeError> {
    let extensions = ExtensionProcesses::start(definition, facts, endpoint).await?;
    let (executable, arguments) = (&*definition.program.executable, &*definition.program.arguments);
    let environment = environment_variables(definition, facts);
    let started = FunctionProcess::start(ProcessLaunch { executable, arguments, definition, environment }).await;
    let failed = |error: std::io::Error| InvokeError::function_error("Runtime.InvalidEntrypoint", error.to_string());
    started.map(|process| (extensions, process)).map_err(failed)
}

/// Forwards the process's output to the log until it ends.
fn forward_output(endpoint: &Arc<RuntimeEndpoint>, process: &mut FunctionProcess, tasks: &TaskTracker) {
    let (stdout, stderr) = process.take_output();
    if let Some(stdout) = stdout {
        tasks.spawn(forward_stream(endpoint.clone(), stdout));
    }
    if let Some(stderr) = stderr {
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
