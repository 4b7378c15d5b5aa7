//! Events of probes elsewhere, posted to a connection of ours.
//!
//! The observer asks for its own connection's id, names it in the directive of every connection that it wants to hear of
//! (`"observer"`), and the probes post each event's bytes to it. The endpoint's own way back to clients carries the
//! events, so nothing else has to be reachable.

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

/// What the observer asks to be told, so that it knows that it has read everything before.
const BARRIER: &str = "\"barrier\"";

/// A connection that events are posted to.
pub struct ConnectionRecorder {
    /// Its id.
    pub connection_id: String,
    client: Mutex<ConformanceClient>,
    kept: MemoryRecorder,
}

impl ConnectionRecorder {
    /// Connects to `place` and asks for the connection's id.
    ///
    /// # Errors
    /// The endpoint cannot be reached, or no probe answers there.
    pub async fn connect(place: &EndpointAddress, patience: Duration) -> anyhow::Result<Arc<Self>> {
        let mut client = ConformanceClient::open(place, HandshakeBuilder::new(), patience).await?;
        client.send_json(&json!({"action": "ask", "answer": {"event": true}})).await?;
        let own = client.text().await.context("no probe answered on route 'ask'")?;
        let own = Event::parse(own)?;
        let connection_id = own.context("connectionId").to_owned();
        Ok(Arc::new(Self { connection_id, client: Mutex::new(client), kept: MemoryRecorder::new(patience) }))
    }

    /// Reads what was posted until there is an event of `kind`.
    async fn read_until(&self, kind: EventKind) -> anyhow::Result<Event> {
        let mut client = self.client.lock().await;
        loop {
            if let Some(event) = self.kept.take(kind) {
                return Ok(event);
            }
            match client.next().await? {
                ReceivedItem::Text(raw) => self.kept.record(Event::parse(raw)?),
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

    /// What was posted before the question is asked stands in line before its answer.
    async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        let mut client = self.client.lock().await;
        client.send_json(&json!({"action": "ask", "answer": {"return": {"statusCode": 200, "body": BARRIER}}})).await?;
        loop {
            match client.text().await? {
                text if text == BARRIER => return Ok(self.kept.seen(kind)),
                raw => self.kept.record(Event::parse(raw)?),
            }
        }
    }
}
