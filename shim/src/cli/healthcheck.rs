//! `twinway healthcheck`: requests `/health` or `/ready` from the ops port, for container runtimes without HTTP probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::exit::CommandError;
use super::{CommandIo, ConfigArgs};

pub(super) const EXAMPLES: &str = "\
Examples:
  twinway healthcheck                       is the process alive?
  twinway healthcheck --ready               does it accept connections?
  HEALTHCHECK CMD [\"twinway\", \"healthcheck\"]  in a Dockerfile";

/// Timeout of the request; below the probe timeouts of container runtimes, which are a few seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Probe to send, and the configuration with the address.
#[derive(Debug, Args)]
pub(super) struct HealthcheckArgs {
    /// Check readiness (accepts connections) instead of liveness
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    settings: ConfigArgs,
}

pub(super) fn run_healthcheck(
    arguments: &HealthcheckArgs,
    terminal: &mut CommandIo<'_>,
) -> Result<ExitCode, CommandError> {
    let config = arguments.settings.load_valid_config(terminal)?;
    let address = reachable_address(config.server.ops_listen);
    let path = if arguments.ready { "/ready" } else { "/health" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CommandError::classify_error(error.into()))?;
    let status = runtime.block_on(async { tokio::time::timeout(PROBE_TIMEOUT, request_status(address, path)).await });
    let unhealthy = |reason: String| CommandError::unhealthy_error(format!("http://{address}{path}: {reason}"));
    match status {
        Err(_) => Err(unhealthy(format!("no response within {} seconds", PROBE_TIMEOUT.as_secs()))),
        Ok(Err(error)) => Err(unhealthy(format!(
            "request failed: {}; check that the server runs with this ops address",
            errors::chain(&*error)
        ))),
        Ok(Ok(StatusCode::OK)) => terminal.print_result("healthy\n"),
        Ok(Ok(status)) => Err(unhealthy(format!("status {status}"))),
    }
}

/// Replaces an unspecified address, which a server uses to listen on all addresses, with loopback.
fn reachable_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn request_status(address: SocketAddr, path: &str) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(address).await.context("connection failed")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    // The connection future drives the request and completes once the sender is dropped.
    let response = async move { sender.send_request(request).await.map(|response| response.status()) };
    let (status, closed) = tokio::join!(response, connection);
    match (status, closed) {
        (Ok(status), _) => Ok(status),
        (Err(_), Err(connection_error)) => Err(connection_error.into()),
        (Err(error), Ok(())) => Err(error.into()),
    }
}
