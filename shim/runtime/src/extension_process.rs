//! Processes of external extensions: executables in `extensions/` of a function's layers.
//!
//! ```text
//! start ── register (all) ── runtime starts ── INVOKE … ── SHUTDOWN ── exit | killed after 2 s
//! ```
//! They run for as long as the sandbox (Lambda developer guide, `runtimes-extensions-api`). Each sandbox starts its own, so an
//! extension that listens on a fixed port permits one sandbox only.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::definition::FunctionDefinition;
use crate::endpoint::RuntimeEndpoint;
use crate::environment::{SandboxFacts, environment_variables};
use crate::function_process::{FunctionProcess, ProcessLaunch};
use crate::invocation::{InvokeError, describe_exit};
use crate::output;

/// Time that extensions have to exit after SHUTDOWN.
pub(crate) const EXTENSION_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Running external extensions of one sandbox.
#[derive(Default)]
pub(crate) struct ExtensionProcesses {
    tasks: TaskTracker,
    kill: CancellationToken,
    exited: CancellationToken,
    count: usize,
}

impl ExtensionProcesses {
    /// Starts the extensions of the program, and waits until all are registered.
    ///
    /// # Errors
    /// An extension cannot be started, exits, or does not register in time.
    pub async fn start(
        definition: &FunctionDefinition,
        facts: &SandboxFacts,
        endpoint: &Arc<RuntimeEndpoint>,
    ) -> Result<Self, InvokeError> {
        let mut started = Self::default();
        for path in &definition.program.platform.extensions {
            let environment = environment_variables(definition, facts);
            let launch = ProcessLaunch { executable: path, arguments: &[], definition, environment };
            let launched = FunctionProcess::start(launch).await;
            let process = launched.map_err(|error| extension_error("LaunchError", path, &error.to_string()))?;
            tracing::info!(function.name = definition.name, extension = %path.display(), "extension started");
            started.tasks.spawn(run_extension(
                process,
                endpoint.clone(),
                path.clone(),
                started.kill.clone(),
                started.exited.clone(),
            ));
        }
        started.count = definition.program.platform.extensions.len();
        if started.count > 0 {
            started.wait_for_registration(definition, endpoint).await?;
        }
        Ok(started)
    }

    async fn wait_for_registration(
        &self,
        definition: &FunctionDefinition,
        endpoint: &RuntimeEndpoint,
    ) -> Result<(), InvokeError> {
        let failure = tokio::select! {
            () = endpoint.extensions_registered() => return Ok(()),
            () = self.exited.cancelled() => "it exited before it was registered",
            () = tokio::time::sleep(definition.limits.init_timeout) => "it did not register before the init timeout",
        };
        self.kill.cancel();
        Err(extension_error("Crash", &definition.program.platform.extensions[0], failure))
    }

    /// Waits until an extension has exited, which never happens without extensions.
    pub async fn exited(&self) {
        self.exited.cancelled().await;
    }

    /// Returns the error of an invocation whose extension exited.
    pub fn exit_error() -> InvokeError {
        InvokeError::function_error("Extension.Crash", "an extension exited")
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Waits until the extensions have exited after SHUTDOWN, and kills those that have not.
    pub async fn stop(&self) {
        self.tasks.close();
        // After a timeout they are killed.
        let _ = tokio::time::timeout(EXTENSION_SHUTDOWN_TIMEOUT, self.tasks.wait()).await;
        self.kill.cancel();
        self.tasks.wait().await;
    }
}

/// Ends the extensions of a sandbox that was not started.
impl Drop for ExtensionProcesses {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

fn extension_error(kind: &str, path: &Path, reason: &str) -> InvokeError {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    InvokeError::function_error(format!("Extension.{kind}"), format!("extension {name}: {reason}"))
}

async fn run_extension(
    mut process: FunctionProcess,
    endpoint: Arc<RuntimeEndpoint>,
    path: std::path::PathBuf,
    kill: CancellationToken,
    exited: CancellationToken,
) {
    let (stdout, stderr) = process.take_output();
    let output = TaskTracker::new();
    if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
        output.spawn(forward_stream(endpoint.clone(), stdout));
        output.spawn(forward_stream(endpoint.clone(), stderr));
    }
    tokio::select! {
        status = process.wait() => {
            let status = status.ok().map(describe_exit);
            let name = endpoint.function_name();
            tracing::info!(function.name = name, extension = %path.display(), process.exit = status, "extension exited");
            exited.cancel();
        }
        () = kill.cancelled() => {}
    }
    process.kill().await;
}

async fn forward_stream(endpoint: Arc<RuntimeEndpoint>, stream: impl AsyncRead + Unpin) {
    tokio::select! {
        () = output::forward_lines(endpoint.function_name(), stream, || None) => {}
        () = endpoint.connections_aborted() => {}
    }
}
