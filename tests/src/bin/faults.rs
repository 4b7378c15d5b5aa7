//! `faults`: three pods, thousands of clients, and everything that goes wrong; a table and JSON of what became of it.
//!
//! Exit code 0 when every promise was kept, 1 otherwise.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, ValueEnum as _};
use tests::faults::{FaultPlan, InjectedFault, run_fault};

/// Lets things go wrong under steady traffic, and counts.
#[derive(Parser)]
#[command(name = "faults", version)]
struct Cli {
    /// How many clients
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u32).range(10..=8_000))]
    connections: u32,
    /// How many seconds each client waits between two messages
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pace: u64,
    /// Only these faults; may be given several times
    #[arg(long)]
    only: Vec<InjectedFault>,
    /// Where the JSON results go
    #[arg(long, default_value = "target/faults.json")]
    output: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match all(&Cli::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
async fn all(cli: &Cli) -> anyhow::Result<bool> {
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
