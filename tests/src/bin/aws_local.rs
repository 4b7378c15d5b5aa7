//! `aws_local`: the AWS deployment as one local process tree: DynamoDB emulator, tables, functions, and the server as
//! API Gateway.
//!
//! ```text
//! emulator ── tables ── server (and its functions) ── SIGINT or SIGTERM ── server drains ── emulator exits
//! ```
//! The server and its functions exit before the emulator; no child process survives this one.

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
    about = "Runs the AWS deployment locally: DynamoDB emulator, Lambda functions, and the server as API Gateway"
)]
struct Arguments {
    /// Address that clients connect to
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the health checks and of the metrics
    #[arg(long, default_value = "127.0.0.1:8081")]
    ops_listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let database = DynamoDb::start().await.context("no DynamoDB emulator found; install it from PyPI")?;
    let database = Arc::new(database);
    let deployment = Deployment::create(database.clone()).await?;
    let server = start(&arguments, &deployment).await?;
    println!("DynamoDB   {} (tables {}, {})", database.endpoint(), deployment.connections, deployment.messages);
    let code = wait_exit(server).await?;
    drop((deployment, database));
    Ok(code)
}

/// Starts the server with an environment of only the variables that it needs, and the log level.
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
    // A separate process group: the server receives only the signal that this process forwards.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command.spawn().context("starting the server")
}

/// Forwards each SIGINT and SIGTERM to the server as SIGTERM and waits until it exits.
async fn wait_exit(mut server: Child) -> anyhow::Result<ExitCode> {
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
