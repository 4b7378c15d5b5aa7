//! Lambda executables behind the real server: unmodified functions in Rust, Python and Node, and everything that can go
//! wrong with a process.

#[cfg(test)]
mod examples;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod languages;
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

/// The function of these tests.
fn function() -> PathBuf {
    binary("function").expect("cargo builds the package's binaries before its tests")
}

/// A server whose messages go to the function of these tests.
fn launch() -> ServerLaunch {
    TwinwayServer::launch().with_env("TWINWAY_FUNCTIONS_MESSAGE", function().display())
}

/// A connection to `server`.
async fn connect(server: &TwinwayServer) -> ConformanceClient {
    dial(server, HandshakeBuilder::new()).await
}

async fn dial(server: &TwinwayServer, dial: HandshakeBuilder) -> ConformanceClient {
    let place = EndpointAddress::parse(&server.socket_url()).expect("a server has an address");
    ConformanceClient::open(&place, dial, test_timeout()).await.expect("the handshake is granted")
}

/// Sends a text and gives the answer.
async fn ask(client: &mut ConformanceClient, text: &str) -> String {
    client.send_text(text).await.expect("the connection is open");
    client.text().await.expect("there is an answer")
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits for a process to end.
async fn ends(pid: &str) {
    eventually!("the process to end", (!runs(pid)).then_some(()));
}
