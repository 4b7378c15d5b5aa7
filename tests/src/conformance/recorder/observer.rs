//! Event recorder for remote probes, which post their events to a connection of the suite.
//!
//! The observer obtains its own connection's id and adds it to the directive of every observed connection
//! (`"observer"`); the probes post each event's bytes to it. The events travel over the endpoint's own
//! `@connections`, so nothing else must be reachable.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Mutex;

use super::{EventRecorder, MemoryRecorder};
use crate::conformance::client::{ConformanceClient, HandshakeBuilder, ReceivedItem};
use crate::conformance::event::{Event, EventKind};
use crate::conformance::wire::endpoint_address::EndpointAddress;

/// Body of a reply that marks the end of all earlier events.
const BARRIER: &str = "\"barrier\"";

/// Recorder on a connection to which probes post events.
pub struct ConnectionRecorder {
    /// Id of the connection.
    pub connection_id: String,
    client: Mutex<ConformanceClient>,
    recorded: MemoryRecorder,
}

impl ConnectionRecorder {
    /// Connects to `endpoint` and requests the connection's id.
    ///
    /// # Errors
    /// The endpoint cannot be reached, or no probe replies.
    pub async fn connect(endpoint: &EndpointAddress, timeout: Duration) -> anyhow::Result<Arc<Self>> {
        let mut client = ConformanceClient::open(endpoint, HandshakeBuilder::new(), timeout).await?;
        client.send_json(&json!({"action": "ask", "answer": {"event": true}})).await?;
        let reply = client.text().await.context("no probe replied on route 'ask'")?;
        let event = Event::parse(reply)?;
        let connection_id = event.context("connectionId").to_owned();
        Ok(Arc::new(Self { connection_id, client: Mutex::new(client), recorded: MemoryRecorder::new(timeout) }))
    }

    /// Reads posted events until one of `kind` arrives.
    async fn read_until(&self, kind: EventKind) -> anyhow::Result<Event> {
        let mut client = self.client.lock().await;
        loop {
            if let Some(event) = self.recorded.take(kind) {
                return Ok(event);
            }
            match client.next().await? {
                ReceivedItem::Text(raw) => self.recorded.record(Event::parse(raw)?),
                ReceivedItem::Ping(_) | ReceivedItem::Pong(_) => {}
                other => bail!("the observer's connection ended: {other:?}"),
            }
        }
    }
}

#[async_trait]
impl EventRecorder for ConnectionRecorder {
    async fn next(&self, kind: EventKind) -> anyhow::Result<Event> {
        self.read_until(kind).await.with_context(|| format!("no {kind:?} event"))
    }

    /// Sends a request and reads until its reply, which arrives after all events posted before.
    async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        let mut client = self.client.lock().await;
        client.send_json(&json!({"action": "ask", "answer": {"return": {"statusCode": 200, "body": BARRIER}}})).await?;
        loop {
            match client.text().await? {
                text if text == BARRIER => return Ok(self.recorded.seen(kind)),
                raw => self.recorded.record(Event::parse(raw)?),
            }
        }
    }
}
