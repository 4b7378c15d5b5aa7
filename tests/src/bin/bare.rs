//! `bare`: the bare servers that ours is measured against, without events, handlers or limits.
//!
//! They run as ours does: jemalloc, tokio's multi-threaded runtime, TCP_NODELAY. `bare` prints `listening on ADDR` once it
//! takes connections, and exits on SIGTERM or when its standard input ends, so that it never outlives a benchmark.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::Parser;
use tests::load::bench::baseline::{self, BaselineKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A bare WebSocket server to compare with.
#[derive(Parser)]
#[command(name = "bare", version)]
struct Cli {
    /// Which one
    #[arg(long, value_enum)]
    kind: BaselineKind,
    /// Where to listen: a loopback address, port 0 for any free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Threads of the runtime (default: one for each core it may use)
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    ensure!(cli.listen.ip().is_loopback(), "a bare server has no limits: it listens on the loopback interface only");
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

/// A thread of its own: reading standard input cannot be cancelled, and must not hold up the runtime's end.
fn cancel_at_end_of_input(stop: CancellationToken) {
    std::thread::spawn(move || {
        let mut ignored = [0; 64];
        while std::io::stdin().read(&mut ignored).is_ok_and(|count| count > 0) {}
        stop.cancel();
    });
}
