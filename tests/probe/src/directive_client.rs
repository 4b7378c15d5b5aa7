//! Client of the directive server: a probe that gets an instruction for each event over HTTP.
//!
//! ```text
//! probe process ── POST bytes of the event ──▶ directive server: Probe ──▶ {"return"} | {"throw"} | {"crash"}
//! ```
//! The process has no state. It forwards each event byte for byte and executes the instruction.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::directive::ProbeError;

/// Environment variable with the address of the directive server: `host:port`.
pub const DIRECTIVE_SERVER_VARIABLE: &str = "PROBE_DIRECTIVE_SERVER";

/// Instruction for one event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Return this result.
    Return(Value),
    /// Fail with this message.
    Throw(String),
    /// Exit the process.
    Crash,
}

impl From<Result<Value, ProbeError>> for Instruction {
    fn from(result: Result<Value, ProbeError>) -> Self {
        match result {
            Ok(value) => Self::Return(value),
            Err(ProbeError::Throw(message)) => Self::Throw(message),
            // The platform causes the other failures, not the function; no case requests them of an executable.
            Err(ProbeError::Crash | ProbeError::NotInvokable | ProbeError::Throttled) => Self::Crash,
        }
    }
}

/// HTTP client of a directive server.
#[derive(Debug, Clone)]
pub struct DirectiveClient {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl DirectiveClient {
    /// Creates a client of the server at `address` (`host:port`).
    #[must_use]
    pub fn new(address: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), url: format!("http://{address}/") }
    }

    /// Requests the instruction for an event. The server delays its response as the test case requires, so there is no
    /// timeout except that of the platform.
    ///
    /// # Errors
    /// The request failed or the response is invalid.
    pub async fn request_instruction(&self, event: String) -> Result<Instruction, Error> {
        let request = http::Request::post(&self.url).body(Full::from(event))?;
        let body = self.client.request(request).await?.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&body)?)
    }
}
