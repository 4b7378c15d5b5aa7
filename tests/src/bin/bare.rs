//! `bare`: minimal WebSocket servers that the benchmarks compare with, without events, handlers or limits.
//!
//! They use the shim's runtime settings: jemalloc, tokio's multi-threaded runtime, TCP_NODELAY. `bare` prints
//! `listening on ADDR` once it accepts connections, and exits on SIGTERM or at the end of its standard input, so that
//! it never outlives a benchmark.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::Parser;
use tests::load::bench::baseline::{self, BaselineKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Minimal WebSocket server for comparison.
#[derive(Parser)]
#[command(name = "bare", version)]
struct Cli {
    /// Server to run
    #[arg(long, value_enum)]
    kind: BaselineKind,
    /// Address to listen on: a loopback address, port 0 for any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads of the runtime (default: one per available core)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    ensure!(cli.listen.ip().is_loopback(), "a bare server has no limits: --listen must be a loopback address");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = cli.workers {
        runtime.worker_threads(usize::from(workers));
    }
    runtime.enable_all().build()?.block_on(serve(&cli))
}

async fn serve(cli: &Cli) -> anyhow::Result<()> {
    let listener = baseline::listen(cli.listen).with_context(|| format!("listening on {}", cli.listen))?;
    let stop = CancellationToken::new();
    cancel_at_end_of_input(stop.clone());
    let mut terminated = signal(SignalKind::terminate())?;
    println!("listening on {}", listener.local_addr()?);
    tokio::select! {
        () = baseline::run(cli.kind, listener, stop.clone()) => {}
        _ = terminated.recv() => stop.cancel(),
    }
    Ok(())
}

/// Reads on a separate thread: a read of standard input cannot be cancelled and must not delay the runtime's
/// shutdown.
fn cancel_at_end_of_input(stop: CancellationToken) {
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while std::io::stdin().read(&mut ignored).is_ok_and(|count| count > 0) {}
        stop.cancel();
    });
}
