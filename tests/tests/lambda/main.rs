//! Lambda executables on the real server: unmodified functions in Rust, Python and Node, and failures of their
//! processes.

#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod languages;
#[cfg(test)]
mod posts;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod starting;

use std::path::PathBuf;

use tests::conformance::client::{ConformanceClient, HandshakeBuilder};
use tests::conformance::probe::executable::binary;
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually;
use tests::eventually::test_timeout;
use tests::server::{ServerLaunch, TwinwayServer};

/// Returns the path of the test function.
fn function() -> PathBuf {
    binary("function").expect("cargo builds the package's binaries before its tests")
}

/// Returns the launch of a server whose messages invoke the test function.
fn launch() -> ServerLaunch {
    two_way(TwinwayServer::launch()).with_env("TWINWAY_FUNCTIONS_MESSAGE", function().display())
}

/// Sends the function's response of each message to the client, one message at a time.
fn two_way(launch: ServerLaunch) -> ServerLaunch {
    launch.with_env("TWINWAY_FUNCTIONS_MESSAGE_RESPONSE", "two-way").with_env("TWINWAY_ORDERING", "connection")
}

/// Connects to `server`.
async fn connect(server: &TwinwayServer) -> ConformanceClient {
    dial(server, HandshakeBuilder::new()).await
}

async fn dial(server: &TwinwayServer, dial: HandshakeBuilder) -> ConformanceClient {
    let endpoint = EndpointAddress::parse(&server.socket_url()).expect("a server has an address");
    ConformanceClient::open(&endpoint, dial, test_timeout()).await.expect("the handshake is accepted")
}

/// Sends a text and returns the reply.
async fn ask(client: &mut ConformanceClient, text: &str) -> String {
    client.send_text(text).await.expect("the connection is open");
    client.text().await.expect("the function replies")
}

/// Returns whether a process is running; a zombie is not.
fn is_running(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until a process has exited.
async fn wait_exit(pid: &str) {
    eventually!("the process to exit", (!is_running(pid)).then_some(()));
}
