//! `twinway serve`: start, signal handling, drain and exit code of the server process.
//!
//! ```text
//! ops port ── wire, again while a dependency is unavailable ── bind ── startup banner ── serve
//!    ── SIGTERM or SIGINT ── drain ── exit code
//!                              └─ second signal: exit without draining
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::drain::DrainOutcome;
use crate::embedded::SigningSecret;
use crate::exit_code::EXIT_UNFINISHED;
use crate::running::{Background, ListeningServer, OpsPort};
use crate::server::ApiServer;
use crate::server::descriptors::raise_descriptor_limit;
use crate::server::http_api::HttpApi;
use crate::startup;
use crate::wiring::ServerAssembly;

/// Addresses and signing secret of a server that accepts connections.
pub struct ReadyServer<'s> {
    /// Address of the clients' port.
    pub traffic: SocketAddr,
    /// Address of the ops port.
    pub ops: SocketAddr,
    /// Address of unsigned `@connections` calls, if there is such a listener.
    pub management: Option<SocketAddr>,
    /// The server's own signing secret; `None` when an identity provider signs the tokens.
    pub secret: Option<&'s SigningSecret>,
}

/// Runs the server until SIGTERM or SIGINT, then drains. Calls `on_ready` once, when the server accepts connections.
///
/// # Errors
/// The server could not start: invalid configuration, a port in use, or, outside Kubernetes mode, unavailable
/// PostgreSQL. The text is meant for the operator.
pub async fn run_server(config: Config, on_ready: impl FnOnce(&Config, ReadyServer<'_>)) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!(error = %errors::chain(&error), "the file descriptor limit cannot be raised");
    }
    let mut signals = StopSignals::register_handlers().context("cannot listen for signals")?;
    let ops = OpsPort::open(&config.server)?;
    tracing::info!(ops.address = %ops.address, mode = config.mode.as_str(), "starting");
    let status = ops.status.clone();
    let assembly = tokio::select! {
        assembly = Box::pin(startup::assemble_when_available(&config, &status.readiness)) => assembly?,
        () = signals.next() => {
            tracing::info!("stopped before the server was ready");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let ServerAssembly {
        server,
        http_api,
        signing_secret,
        data_dir_lock,
        lambda_functions,
        endpoint_files,
        code_watch,
        background,
    } = assembly;
    let running = start_listeners(ops, &config, server, http_api, background).await?;
    log_ready(&running, &config, started);
    on_ready(&config, ReadyServer::new(&running, signing_secret.as_ref()));
    signals.next().await;
    let drained = tokio::select! {
        drained = running.stop(&config.drain) => drained,
        () = signals.next() => {
            tracing::warn!("second stop signal: exiting without draining");
            return Ok(ExitCode::from(EXIT_UNFINISHED));
        }
    };
    if let Some(code_watch) = code_watch {
        code_watch.stop().await;
    }
    if let Some(functions) = &lambda_functions {
        functions.stop().await;
    }
    drop((data_dir_lock, endpoint_files));
    Ok(exit_code_of(drained))
}

/// Opens the ports and starts the background tasks. If a port cannot be bound, leaves the cluster first.
async fn start_listeners(
    ops: OpsPort,
    config: &Config,
    server: ApiServer,
    http_api: Option<Arc<HttpApi>>,
    background: Background,
) -> anyhow::Result<ListeningServer> {
    match ListeningServer::start_with_ops(ops, &config.server, server, config.server.management, http_api) {
        Ok(running) => Ok(running.with_background(background, &config.drain)),
        Err(error) => {
            if let Some(runtime) = &background.cluster_runtime {
                runtime.leave_cluster().await;
            }
            Err(error.into())
        }
    }
}

fn log_ready(running: &ListeningServer, config: &Config, started: Instant) {
    tracing::info!(
        server.address = %running.traffic_address,
        ops.address = %running.ops_address,
        management.address = running.management_address.map(tracing::field::display),
        mode = config.mode.as_str(),
        started_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
}

/// Logs the result of the drain, and returns its exit code.
fn exit_code_of(drained: DrainOutcome) -> ExitCode {
    match drained {
        DrainOutcome::Complete => {
            tracing::info!("drain complete");
            ExitCode::SUCCESS
        }
        DrainOutcome::Abandoned(left) => {
            tracing::warn!(tasks = left, "drain incomplete: grace period exceeded");
            ExitCode::from(EXIT_UNFINISHED)
        }
    }
}

impl<'s> ReadyServer<'s> {
    fn new(running: &ListeningServer, secret: Option<&'s SigningSecret>) -> Self {
        Self {
            traffic: running.traffic_address,
            ops: running.ops_address,
            management: running.management_address,
            secret,
        }
    }
}

/// Listeners for SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn register_handlers() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
