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

use tests::conformance::client::{Client, Dial};
use tests::conformance::probe::executable::binary;
use tests::conformance::wire::place::Place;
use tests::eventually;
use tests::eventually::patience;
use tests::server::{Launch, Server};

/// The function of these tests.
fn function() -> PathBuf {
    binary("function").expect("cargo builds the package's binaries before its tests")
}

/// A server whose messages go to the function of these tests.
fn launch() -> Launch {
    Server::launch().with("TWINWAY_FUNCTIONS_MESSAGE", function().display())
}

/// A connection to `server`.
async fn connect(server: &Server) -> Client {
    dial(server, Dial::new()).await
}

async fn dial(server: &Server, dial: Dial) -> Client {
    let place = Place::parse(&server.socket_url()).expect("a server has an address");
    Client::open(&place, dial, patience()).await.expect("the handshake is granted")
}

/// Sends a text and gives the answer.
async fn ask(client: &mut Client, text: &str) -> String {
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
