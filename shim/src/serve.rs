//! `twinway serve`: the life of the server's process.
//!
//! ```text
//! wire ── bind ── "what to paste next" ── serve ── SIGTERM or SIGINT ── drain ── exit code
//!                                                        └─ a second one: leave at once
//! ```

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::welcome;
use crate::config::Config;
use crate::drain::Drained;
use crate::exit_code::UNFINISHED;
use crate::running::Running;
use crate::wiring;

/// Serves until a signal, then drains.
///
/// # Errors
/// What kept the server from starting, in words for the operator.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let wired = wiring::wire(&config).await?;
    let management = config.server.management;
    let started = Running::start(&config.server, wired.endpoint, management, wired.http_api);
    let running = match (started, wired.pods) {
        (Ok(running), Some(pods)) => running.among(pods, &config.drain),
        (Err(error), Some(pods)) => {
            pods.leave().await;
            return Err(error.into());
        }
        (started, None) => started?,
    };
    let running = match &wired.postgres {
        Some(postgres) => running.keeping_messages_in(postgres),
        None => running,
    };
    tracing::info!(
        server.address = %running.traffic,
        ops.address = %running.ops,
        mode = config.mode.as_str(),
        started_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        "ready"
    );
    print!("{}", welcome::text(&config, wired.secret.as_ref(), running.traffic, running.ops));
    signals.next().await;
    let drained = tokio::select! {
        drained = running.stop(&config.drain) => drained,
        () = signals.next() => {
            tracing::warn!("a second signal: leaving at once");
            return Ok(ExitCode::from(UNFINISHED));
        }
    };
    if let Some(functions) = &wired.functions {
        functions.stop().await;
    }
    drop(wired.data_dir);
    Ok(match drained {
        Drained::Completely => {
            tracing::info!("drained");
            ExitCode::SUCCESS
        }
        Drained::Abandoned(left) => {
            tracing::warn!(tasks = left, "the grace period ended before everything had");
            ExitCode::from(UNFINISHED)
        }
    })
}

/// The signals that mean "please stop".
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
