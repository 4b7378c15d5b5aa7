//! `cluster_clients`: recording clients against servers that run elsewhere, while a command disturbs them.
//!
//! The exit code is 0 when no acknowledged message was lost or delivered twice, 1 otherwise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tests::faults::{RemotePlan, run_remote};

/// Sends from many clients while a command runs, and checks every message.
#[derive(Parser)]
#[command(name = "cluster_clients", version)]
struct Cli {
    /// URL of the WebSocket API, ws://host:port/stage
    #[arg(long)]
    url: String,
    /// File with the secret that signs the tokens
    #[arg(long)]
    secret_file: PathBuf,
    /// Number of clients
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Milliseconds between two messages of a client
    #[arg(long, default_value_t = 1_000)]
    pace_ms: u64,
    /// Send nothing
    #[arg(long)]
    idle: bool,
    /// Shell command that runs under the traffic
    #[arg(long, default_value = "true")]
    during: String,
    /// Also print the results as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<bool> {
    let secret = std::fs::read_to_string(&cli.secret_file)
        .with_context(|| format!("reading {}", cli.secret_file.display()))?
        .trim_end()
        .to_owned();
    let plan = RemotePlan {
        url: cli.url.clone(),
        secret,
        run_id: format!("c{}", std::process::id()),
        connections: cli.connections,
        pace: Duration::from_millis(cli.pace_ms),
        idle: cli.idle,
        disturbance: cli.during.clone(),
    };
    let report = run_remote(&plan).await?;
    println!("{report}");
    for sample in &report.messages.violation_samples {
        println!("violation: {sample}");
    }
    if cli.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(report.is_correct())
}
