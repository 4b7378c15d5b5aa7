//! `bench_pods`: three servers on one Redis, ours or the peer's, as one process to start, measure and stop.
//!
//! It prints `listening on ADDR,ADDR,ADDR` once all of them take connections, and ends with them on SIGTERM or when its
//! standard input ends, so that they never outlive a benchmark. The CPU time of a contest is that of this process and all its
//! descendants; it does nothing itself meanwhile.

use std::path::PathBuf;

use clap::Parser;
use tests::load::bench::pods::{BenchmarkCluster, ClusterKind};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Three servers on one Redis.
#[derive(Parser)]
#[command(name = "bench_pods", version)]
struct Cli {
    /// Which ones
    #[arg(long, value_enum)]
    kind: ClusterKind,
    /// Where tests/scripts/socketio.sh has installed the peer
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
    // Reading standard input cannot be cancelled: the runtime would wait for it.
    std::process::exit(0)
}
