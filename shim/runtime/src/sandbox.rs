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

use crate::endpoint::{Endpoint, serve};
use crate::invocation::InvokeError;
use crate::output;
use crate::pool::{End, SandboxId, Watch};
use crate::shared::Shared;

/// How long a process may take to end by itself (Lambda developer guide, `runtimes-extensions-api`: 2 s with extensions,
/// 0.5 s with internal ones, nothing without).
const FAREWELL: Duration = Duration::from_millis(500);
/// How long what a process had sent before its end may take to be read.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs sandbox `id` from its start to its end.
pub(crate) async fn run(function: Arc<Shared>, id: SandboxId) {
    let launch = function.pool().launch(id);
    let Some((at, wake)) = launch else { return };
    let begun = tokio::select! {
        () = tokio::time::sleep_until(at) => Process::start(&function, id).await,
        () = function.stop.cancelled() => Err(InvokeError::Stopped),
    };
    let end = match begun {
        Ok(process) => process.supervise(&wake).await,
        Err(InvokeError::Stopped) => End { status: None, failure: Some(InvokeError::Stopped) },
        Err(failure) => {
            let name = &*function.definition.name;
            tracing::error!(function.name = name, error = %errors::chain(&failure), "a process of a function did not start");
            End { status: None, failure: Some(failure) }
        }
    };
    if function.stop.is_cancelled() {
        // Nothing is started in the place of what was stopped.
        function.pool().stop();
    }
    let due = function.pool().gone(Instant::now(), id, end);
    function.launch(due);
}

/// A process and what serves it.
struct Process {
    function: Arc<Shared>,
    id: SandboxId,
    child: Child,
    group: Option<Pid>,
    endpoint: Arc<Endpoint>,
    /// Ends the endpoint.
    close: CancellationToken,
    /// The endpoint's connections and the process's output.
    attached: TaskTracker,
}

impl Process {
    async fn start(function: &Arc<Shared>, id: SandboxId) -> Result<Self, InvokeError> {
        let failed = |error: std::io::Error| InvokeError::function("Runtime.InvalidEntrypoint", error.to_string());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let program = &function.definition.program;
        let mut command = Command::new(&program.executable);
        command.args(&program.arguments).current_dir(&program.task_root);
        command.env_clear().envs(function.definition.variables(address));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let endpoint = Arc::new(Endpoint::new(function.clone(), id));
        let (close, attached) = (CancellationToken::new(), TaskTracker::new());
        attached.spawn(serve(listener, endpoint.clone(), attached.clone(), close.clone()));
        forward_output(&endpoint, &mut child, &attached);
        tracing::debug!(
            function.name = function.definition.name,
            process.id = child.id(),
            "a process of a function started"
        );
        Ok(Self { function: function.clone(), id, child, group, endpoint, close, attached })
    }

    /// Watches the process until it has ended, by itself or because it had to.
    async fn supervise(mut self, wake: &Notify) -> End {
        let mut end = End::default();
        loop {
            let watch = self.function.pool().watch(Instant::now(), self.id);
            let until = match watch {
                Watch::Until(until) => until,
                Watch::Kill => {
                    end.failure = Some(InvokeError::function("Sandbox.Timedout", "the function did not start in time"));
                    self.log_end("killed: it took too long");
                    break;
                }
                Watch::Retire => {
                    self.terminate("SPINDOWN").await;
                    break;
                }
            };
            tokio::select! {
                status = self.child.wait() => {
                    end.status = status.ok();
                    self.log_end("ended by itself");
                    break;
                }
                () = self.function.stop.cancelled() => {
                    end.failure = Some(InvokeError::Stopped);
                    self.terminate("SPINDOWN").await;
                    break;
                }
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
        self.reap(&mut end).await;
        end
    }

    /// Asks the process to end and gives it a moment.
    async fn terminate(&mut self, reason: &'static str) {
        self.endpoint.shut_down(reason);
        self.signal(Signal::TERM);
        // Whatever is left is killed next.
        let _ = tokio::time::timeout(FAREWELL, self.child.wait()).await;
    }

    /// Kills what is left of the process and its group, reads its last words, closes the endpoint.
    async fn reap(&mut self, end: &mut End) {
        self.signal(Signal::KILL);
        if let Ok(status) = self.child.wait().await {
            end.status.get_or_insert(status);
        }
        self.attached.close();
        // The accept loop is one of those attached: an answer that is under way needs no new connection.
        self.close.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, self.attached.wait()).await;
        self.endpoint.abandon();
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group that is gone needs no signal.
            let _ = kill_process_group(group, signal);
        }
    }

    fn log_end(&self, how: &'static str) {
        tracing::info!(
            function.name = self.function.definition.name,
            process.id = self.child.id(),
            how,
            "a process of a function ended"
        );
    }
}

/// Logs what the process writes, as long as it writes.
fn forward_output(endpoint: &Arc<Endpoint>, child: &mut Child, attached: &TaskTracker) {
    if let Some(stdout) = child.stdout.take() {
        attached.spawn(forward(endpoint.clone(), stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        attached.spawn(forward(endpoint.clone(), stderr));
    }
}

async fn forward(endpoint: Arc<Endpoint>, stream: impl AsyncRead + Unpin) {
    tokio::select! {
        () = output::forward(endpoint.function_name(), stream, || endpoint.current_request()) => {}
        // Something that the process has started and that left its group may hold the pipe open for ever.
        () = endpoint.abandoned() => {}
    }
}
