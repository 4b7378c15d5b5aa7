//! `twinway serve`: the life of the server's process.
//!
//! ```text
//! wire ── bind ── "what to paste next" ── serve ── SIGTERM or SIGINT ── drain ── exit code
//!                                                        └─ a second one: leave at once
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Config;
use crate::drain::DrainOutcome;
use crate::embedded::SigningSecret;
use crate::exit_code::UNFINISHED;
use crate::running::ListeningServer;
use crate::wiring;

/// A server that is ready.
pub struct Ready<'s> {
    /// Where clients connect.
    pub traffic: SocketAddr,
    /// Where probes and scrapers connect.
    pub ops: SocketAddr,
    /// What signs its tokens, when that is a secret of its own.
    pub secret: Option<&'s SigningSecret>,
}

/// Serves until a signal, then drains. `on_ready` is called once, when the server is ready.
///
/// # Errors
/// What kept the server from starting, in words for the operator.
pub async fn run_server(config: Config, on_ready: impl FnOnce(&Config, Ready<'_>)) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let mut signals = StopSignals::register_handlers().context("cannot listen for signals")?;
    let wired = wiring::assemble_server(&config).await?;
    let management = config.server.management;
    let running = match ListeningServer::start(&config.server, wired.server, management, wired.http_api) {
        Ok(running) => running.with_background(wired.background, &config.drain),
        Err(error) => {
            if let Some(pods) = &wired.background.cluster_runtime {
                pods.leave_cluster().await;
            }
            return Err(error.into());
        }
    };
    tracing::info!(
        server.address = %running.traffic_address,
        ops.address = %running.ops_address,
        mode = config.mode.as_str(),
        started_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    on_ready(
        &config,
        Ready { traffic: running.traffic_address, ops: running.ops_address, secret: wired.signing_secret.as_ref() },
    );
    signals.next().await;
    let drained = tokio::select! {
        drained = running.stop(&config.drain) => drained,
        () = signals.next() => {
            tracing::warn!("a second signal: leaving at once");
            return Ok(ExitCode::from(UNFINISHED));
        }
    };
    if let Some(functions) = &wired.lambda_functions {
        functions.stop().await;
    }
    drop(wired.data_dir_lock);
    Ok(match drained {
        DrainOutcome::Complete => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        DrainOutcome::Abandoned(left) => {
            tracing::warn!(tasks = left, "the grace period ended before everything had");
            ExitCode::from(UNFINISHED)
        }
    })
}

/// The signals that mean "please stop".
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
