//! The probe that asks what to do: whoever runs the suite tells it, over HTTP, event by event.
//!
//! ```text
//! probe process ── POST the event's bytes ──▶ desk ── Probe: record, do as told ──▶ {"return"} | {"throw"} | {"crash"}
//! ```
//! Invariant: the process keeps nothing. It brings each event byte for byte as it got it, and fails or answers as told.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use lambda_runtime::Error;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::directive::ProbeError;

/// The variable that tells a probe where its desk is: `host:port`.
pub const DIRECTIVE_SERVER_VARIABLE: &str = "PROBE_DESK";

/// What a probe is to do with an event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Instruction {
    /// Return this.
    Return(Value),
    /// Fail with this message.
    Throw(String),
    /// End the process.
    Crash,
}

impl From<Result<Value, ProbeError>> for Instruction {
    fn from(result: Result<Value, ProbeError>) -> Self {
        match result {
            Ok(value) => Self::Return(value),
            Err(ProbeError::Throw(message)) => Self::Throw(message),
            // The others are refusals of the platform, which no function can make; no case asks an executable for them.
            Err(ProbeError::Crash | ProbeError::NotInvokable | ProbeError::Throttled) => Self::Crash,
        }
    }
}

/// The way to a desk.
#[derive(Debug, Clone)]
pub struct DirectiveClient {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl DirectiveClient {
    /// The desk at `address`, which is `host:port`.
    #[must_use]
    pub fn new(address: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), url: format!("http://{address}/") }
    }

    /// What to do with an event. A desk answers when the event's case wants it answered, so there is no deadline here: the
    /// platform's own ends the wait.
    ///
    /// # Errors
    /// The desk does not answer.
    pub async fn request_instruction(&self, event: String) -> Result<Instruction, Error> {
        let request = http::Request::post(&self.url).body(Full::from(event))?;
        let answer = self.client.request(request).await?.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&answer)?)
    }
}
