//! `bench_pods`: three servers on one Redis, ours or Socket.IO's, as one process to start, measure and stop.
//!
//! It prints `listening on ADDR,ADDR,ADDR` once all of them accept connections, and stops them on SIGTERM or at the
//! end of its standard input, so that they never outlive a benchmark. The CPU time of a comparison is that of this
//! process and all its descendants; the process itself is idle during the measurement.

use std::path::PathBuf;

use clap::Parser;
use tests::load::bench::pods::{BenchmarkCluster, ClusterKind};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Three servers on one Redis.
#[derive(Parser)]
#[command(name = "bench_pods", version)]
struct Cli {
    /// Servers to run
    #[arg(long, value_enum)]
    kind: ClusterKind,
    /// Directory into which tests/scripts/socketio.sh installed Socket.IO
    #[arg(long, default_value = "target/socketio")]
    packages: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let pods = BenchmarkCluster::start(cli.kind, &cli.packages).await?;
    println!("listening on {}", pods.addresses());
    let mut input = tokio::io::stdin();
    let mut ignored = Vec::new();
    tokio::select! {
        _ = input.read_to_end(&mut ignored) => {}
        _ = terminated.recv() => {}
    }
    drop(pods);
    // A read of standard input cannot be cancelled, so the runtime would wait for it.
    std::process::exit(0)
}
