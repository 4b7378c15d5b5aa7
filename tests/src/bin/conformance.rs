//! `conformance`: the conformance suite as a program.
//!
//! Usage: `conformance [--url WS_URL | --handlers WHICH] [--json FILE] [--markdown] [ID..]`.
//!
//! Without `--url` it starts gateways of this repository. With `--url` it tests the given endpoint, whose routes must
//! invoke the probe handlers (`conformance --serve ADDRESS` is such an endpoint, the stack `Probe` another).
//! `@connections` calls are signed when `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` are set. The exit code is 1
//! when a row fails whose expected behaviour AWS documents.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_credential_types::Credentials;
use clap::{Parser, ValueEnum};
use tests::conformance::aws_local::AwsLocalStage;
use tests::conformance::cases;
use tests::conformance::client::ManagementCaller;
use tests::conformance::report::ConformanceReport;
use tests::conformance::row::ConformanceRow;
use tests::conformance::runner::{self, RunTarget};
use tests::conformance::spec::ApiSpec;
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::conformance::world::{self, start_at};
use tokio::io::AsyncReadExt as _;

#[derive(Debug, Parser)]
struct Arguments {
    /// Rows to run (default: all)
    ids: Vec<String>,
    /// Endpoint whose routes invoke the probe handlers: ws://… or wss://…, including the stage
    #[arg(long)]
    url: Option<String>,
    /// How gateways of this repository run the probe handlers
    #[arg(long, value_enum, default_value = "both", conflicts_with = "url")]
    handlers: Handlers,
    /// Write the report to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Print docs/FIDELITY.md instead of the table
    #[arg(long)]
    markdown: bool,
    /// Serve the standard API with the probe handlers on this address until the end of standard input
    #[arg(long)]
    serve: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Handlers {
    /// In the gateway's process
    InProcess,
    /// As a Lambda executable on the Runtime API
    Executables,
    /// Both, one after the other
    Both,
    /// As the deployed executable, with its table in a DynamoDB emulator and signed calls
    AwsLocal,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match &arguments.serve {
        Some(address) => runtime.block_on(serve(address, arguments.handlers)),
        None => runtime.block_on(run(&arguments)),
    }
}

async fn serve(address: &str, handlers: Handlers) -> anyhow::Result<ExitCode> {
    let handlers = match handlers {
        Handlers::InProcess | Handlers::Both => world::ProbeMode::InProcess,
        Handlers::Executables => world::ProbeMode::Executables,
        Handlers::AwsLocal => bail!("--serve and --handlers aws-local exclude each other"),
    };
    let started = start_at(ApiSpec::standard(), handlers, Duration::from_secs(10), address).await?;
    println!("ws://{}{}", started.endpoint.authority, started.endpoint.path());
    let mut input = Vec::new();
    tokio::io::stdin().read_to_end(&mut input).await.context("cannot read standard input")?;
    started.stop().await;
    Ok(ExitCode::SUCCESS)
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let endpoint = arguments.url.as_deref().map(EndpointAddress::parse).transpose()?;
    let rows = select_rows(&arguments.ids)?;
    let report = match (endpoint, arguments.handlers) {
        (Some(endpoint), _) => {
            let caller = environment_credentials().map(|credentials| ManagementCaller::new(credentials, &endpoint));
            runner::run(&rows, &RunTarget::Remote(endpoint, caller)).await
        }
        (None, Handlers::Both) => runner::run_both(&rows).await,
        (None, Handlers::InProcess) => runner::run(&rows, &RunTarget::Local(world::ProbeMode::InProcess)).await,
        (None, Handlers::AwsLocal) => on_aws_local(&rows).await?,
        (None, Handlers::Executables) => runner::run(&rows, &RunTarget::Local(world::ProbeMode::Executables)).await,
    };
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json()?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    print!("{}", if arguments.markdown { report.markdown() } else { report.table() });
    Ok(if report.has_documented_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn on_aws_local(rows: &[ConformanceRow]) -> anyhow::Result<ConformanceReport> {
    let environment = AwsLocalStage::start().await?.context("no DynamoDB emulator found; install it from PyPI")?;
    let report = runner::run(rows, &environment.target()).await;
    environment.stop().await;
    Ok(report)
}

/// Returns the credentials in the environment, under the AWS SDKs' variable names.
fn environment_credentials() -> Option<Credentials> {
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty());
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

fn select_rows(ids: &[String]) -> anyhow::Result<Vec<ConformanceRow>> {
    let rows = cases::rows();
    if ids.is_empty() {
        return Ok(rows);
    }
    for id in ids {
        ensure!(rows.iter().any(|row| row.id == id), "no row {id}");
    }
    Ok(rows.into_iter().filter(|row| ids.iter().any(|id| id == row.id)).collect())
}
