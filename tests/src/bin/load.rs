//! `load`: puts load on a WebSocket server on this host and reports the results.
//!
//! One scenario per run, on one thread. The report goes to standard output, errors to standard error.

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tests::load::connect::{self, ConnectPlan};
use tests::load::echo::{self, EchoPlan};
use tests::load::fanout::{self, FanoutPlan};
use tests::load::idle::{self, IdlePlan};
use tests::load::report::{Format, render};
use tokio::task::LocalSet;

/// Puts load on a WebSocket server on this host.
#[derive(Parser)]
#[command(name = "load", version)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Args)]
#[group(multiple = false)]
struct Output {
    /// Report as one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Report as a table (the default)
    #[arg(long, global = true)]
    table: bool,
}

#[derive(Subcommand)]
enum Scenario {
    /// Messages and their replies: rate, latency, the server's CPU time per message
    Echo(EchoPlan),
    /// Broadcasts to many receivers: deliveries, losses, the server's CPU time per delivery
    Fanout(FanoutPlan),
    /// Many idle connections: the server's memory per connection
    Idle(IdlePlan),
    /// Connecting and closing as fast as possible: rate, latency, the server's CPU time per connection
    Connect(ConnectPlan),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match LocalSet::new().run_until(run(&cli)).await {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<String> {
    let format = if cli.output.json { Format::Json } else { Format::Table };
    match &cli.scenario {
        Scenario::Echo(plan) => render(&echo::run(plan).await?, format),
        Scenario::Fanout(plan) => render(&fanout::run(plan).await?, format),
        Scenario::Idle(plan) => render(&idle::run(plan).await?, format),
        Scenario::Connect(plan) => render(&connect::run(plan).await?, format),
    }
}
