//! `twinway serve`: start, signal handling, drain and exit code of the server process.
//!
//! ```text
//! ops port ── wire, again while a dependency is unavailable ── bind ── startup banner ── serve
//!    ── SIGTERM or SIGINT ── drain ── exit code
//!                              └─ second signal: exit without draining
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::drain::DrainOutcome;
use crate::embedded::SigningSecret;
use crate::exit_code::EXIT_UNFINISHED;
use crate::running::{ListeningServer, OpsPort};
use crate::server::descriptors::raise_descriptor_limit;
use crate::startup;

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
    let (server, management) = (assembly.server, config.server.management);
    let running = match ListeningServer::start_with_ops(ops, &config.server, server, management, assembly.http_api) {
        Ok(running) => running.with_background(assembly.background, &config.drain),
        Err(error) => {
            if let Some(runtime) = &assembly.background.cluster_runtime {
                runtime.leave_cluster().await;
            }
            return Err(error.into());
        }
    };
    tracing::info!(
        server.address = %running.traffic_address,
        ops.address = %running.ops_address,
        management.address = running.management_address.map(tracing::field::display),
        mode = config.mode.as_str(),
        started_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    on_ready(
        &config,
        ReadyServer {
            traffic: running.traffic_address,
            ops: running.ops_address,
            management: running.management_address,
            secret: assembly.signing_secret.as_ref(),
        },
    );
    signals.next().await;
    let drained = tokio::select! {
        drained = running.stop(&config.drain) => drained,
        () = signals.next() => {
            tracing::warn!("second stop signal: exiting without draining");
            return Ok(ExitCode::from(EXIT_UNFINISHED));
        }
    };
    if let Some(functions) = &assembly.lambda_functions {
        functions.stop().await;
    }
    drop((assembly.data_dir_lock, assembly.endpoint_files));
    Ok(match drained {
        DrainOutcome::Complete => {
            tracing::info!("drain complete");
            ExitCode::SUCCESS
        }
        DrainOutcome::Abandoned(left) => {
            tracing::warn!(tasks = left, "drain incomplete: grace period exceeded");
            ExitCode::from(EXIT_UNFINISHED)
        }
    })
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
