//! `faults`: fault injection against three pods with thousands of clients, reported as a table and JSON.
//!
//! The exit code is 0 when all guarantees held, 1 otherwise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use tests::faults::{FaultPlan, InjectedFault, run_fault};

/// Injects faults under steady traffic and reports violations.
#[derive(Parser)]
#[command(name = "faults", version)]
struct Cli {
    /// Number of clients
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(10..=8_000))]
    connections: u32,
    /// Seconds between two messages of a client
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pace: u64,
    /// Run only these faults; repeatable
    #[arg(long)]
    only: Vec<InjectedFault>,
    /// File of the JSON results
    #[arg(long, default_value = "target/faults.json")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run_faults(&Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the selected faults and returns whether all guarantees held.
async fn run_faults(cli: &Cli) -> anyhow::Result<bool> {
    let pace = Duration::from_secs(cli.pace);
    let plan = FaultPlan { connections: cli.connections as usize, pace, full: true };
    let mut outcomes = Vec::new();
    for fault in InjectedFault::value_variants().iter().filter(|fault| cli.only.is_empty() || cli.only.contains(fault))
    {
        let outcome = run_fault(&plan, *fault).await.with_context(|| format!("{fault:?}"))?;
        println!("{outcome}");
        outcomes.push(outcome);
    }
    let text = serde_json::to_string_pretty(&outcomes)?;
    std::fs::write(&cli.output, text + "\n").with_context(|| format!("writing {}", cli.output.display()))?;
    println!("results in {}", cli.output.display());
    Ok(outcomes.iter().all(|outcome| outcome.violations().is_empty()))
}
