//! Applications of a template on the real server: routes, functions, access control and HTTP APIs.

#[cfg(test)]
mod access;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod http;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod start;
#[cfg(test)]
mod timeouts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use tests::conformance::client::{ConformanceClient, HandshakeBuilder, RejectedHandshake};
use tests::conformance::wire::endpoint_address::EndpointAddress;
use tests::eventually;
use tests::eventually::test_timeout;
use tests::server::{ServerLaunch, TwinwayServer};

/// A template in a directory of its own, and the events that its functions received.
struct Fixture {
    directory: Arc<TempDir>,
}

impl Fixture {
    /// Writes a routes file with this text and the tables of `functions`, which all run the program of the tests. In the
    /// text `COMMAND(NAME)` stands for the command line of a function with further settings.
    fn new(text: &str, functions: &[&str]) -> Self {
        let fixture = Self { directory: Arc::new(tempfile::tempdir().expect("a directory can be created")) };
        let table = |name: &&str| format!("[functions.{name}]\ncommand = COMMAND({name})\n");
        let tables: String = functions.iter().map(table).collect();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions/application/function.py");
        let command = format!("[\"python3\", {:?}, \"", program.display().to_string());
        let text = format!("{text}\n{tables}").replace("COMMAND(", &command).replace(")\n", "\"]\n");
        std::fs::write(fixture.template(), text).expect("the directory can be written");
        fixture
    }

    fn template(&self) -> PathBuf {
        self.directory.path().join("twinway.routes.toml")
    }

    fn record(&self) -> PathBuf {
        self.directory.path().join("events.jsonl")
    }

    /// Returns the launch of a server with the template. It has no token secret.
    fn launch(&self) -> ServerLaunch {
        TwinwayServer::launch()
            .with_env("TWINWAY_AUTH_SECRET", "")
            .with_env("TWINWAY_TEMPLATE", self.template().display())
            .with_env("TWINWAY_FUNCTIONS_ENVIRONMENT", format!("RECORD={}", self.record().display()))
    }

    /// Returns the events so far of `phase`, `started` or `ended`, with the names of their functions.
    fn events(&self, phase: &str) -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(self.record()).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines = lines.filter(|line| line["phase"] == phase);
        lines.map(|mut line| (line["function"].as_str().unwrap_or_default().to_owned(), line["event"].take())).collect()
    }

    /// Waits for an event of a function.
    async fn wait_event(&self, function: &str, phase: &str, matches: impl Fn(&Value) -> bool) -> Value {
        eventually!(
            &format!("{function} to have {phase} an event"),
            self.events(phase)
                .into_iter()
                .find(|(name, event)| name == function && matches(event))
                .map(|(_, event)| event)
        )
    }
}

fn endpoint(server: &TwinwayServer) -> EndpointAddress {
    EndpointAddress::parse(&server.socket_url()).expect("a server has an address")
}

async fn connect(server: &TwinwayServer, handshake: HandshakeBuilder) -> ConformanceClient {
    ConformanceClient::open(&endpoint(server), handshake, test_timeout()).await.expect("the handshake is accepted")
}

/// Expects that the handshake is rejected.
async fn reject(server: &TwinwayServer, handshake: HandshakeBuilder) -> RejectedHandshake {
    let outcome = ConformanceClient::attempt(&endpoint(server), handshake, test_timeout()).await;
    outcome.expect("the server responds").err().expect("the handshake is rejected")
}

/// Sends a text and returns the reply.
async fn ask(client: &mut ConformanceClient, text: &str) -> String {
    client.send_text(text).await.expect("the connection is open");
    client.text().await.expect("the function replies")
}

/// Sends a text and returns the reply of the tests' function.
async fn ask_function(client: &mut ConformanceClient, text: &str) -> Value {
    let reply = ask(client, text).await;
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("not the reply of a function: {reply}"))
}
