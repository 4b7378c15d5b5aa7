//! `aws_local`: the AWS deployment on this machine, for a person: emulator, tables, functions, and the server as API Gateway.
//!
//! ```text
//! emulator ── tables ── server (and its functions) ── SIGINT or SIGTERM ── server drains ── emulator ends
//! ```
//! Invariant: the server and its functions end before the emulator, and nothing outlives this process.

use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use shim::config::{ProcessEnvironment, VariableSource};
use tests::aws_local::{Deployment, random_secret};
use tests::conformance::probe::executable::binary;
use tests::dynamodb::DynamoDb;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(
    about = "The AWS deployment on this machine: DynamoDB emulator, Lambda functions, and the server as API Gateway"
)]
struct Arguments {
    /// Where clients connect
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where probes and scrapers connect
    #[arg(long, default_value = "127.0.0.1:8081")]
    ops_listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let database = DynamoDb::start().await.context("there is no DynamoDB emulator; it is installed from PyPI")?;
    let database = Arc::new(database);
    let deployment = Deployment::create(database.clone()).await?;
    let server = start(&arguments, &deployment).await?;
    println!("DynamoDB   {} (tables {}, {})", database.endpoint(), deployment.connections, deployment.messages);
    let code = until_it_ends(server).await?;
    drop((deployment, database));
    Ok(code)
}

/// Starts the server. Of this process's environment it gets what it needs to run, and how much it shall log.
async fn start(arguments: &Arguments, deployment: &Deployment) -> anyhow::Result<Child> {
    let mut command = Command::new(binary("twinway")?);
    command.arg("serve").env_clear();
    for name in ["HOME", "LANG", "PATH", "RUST_LOG", "TMPDIR"] {
        command.envs(ProcessEnvironment.read_variable(name).map(|text| (name, text)));
    }
    if ProcessEnvironment.read_variable("RUST_LOG").is_none() {
        command.env("RUST_LOG", "warn");
    }
    command.env("TWINWAY_OPS_LISTEN", arguments.ops_listen.to_string());
    command.envs(deployment.settings(arguments.listen, &random_secret()?).await?);
    // A group of its own: it is stopped once, by this process.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.spawn().context("the server cannot be started")
}

/// Passes on that it shall stop, as often as it is told so, and waits for the server's end.
async fn until_it_ends(mut server: Child) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            status = server.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if let Some(pid) = server.id() {
            Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        }
    }
}
