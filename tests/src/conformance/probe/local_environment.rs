//! In-process environment of a probe: a recorder for its events, and a map of the directives.
//!
//! It serves one endpoint and sends `@connections` calls there, whatever address an event contains.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use probes::event::Event;
use probes::{ManagementCall, ManagementResponse, ProbeEnvironment};

use crate::conformance::client;
use crate::conformance::recorder::MemoryRecorder;
use crate::conformance::wire::endpoint_address::EndpointAddress;

/// Maximum number of connections with a stored directive for `$disconnect`; further directives are not stored.
const MAX_STORED_DIRECTIVES: usize = 4096;
/// Timeout of an `@connections` call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Environment of a probe in this process.
pub struct LocalEnvironment {
    recorder: Arc<MemoryRecorder>,
    management: OnceLock<EndpointAddress>,
    directives: Mutex<HashMap<String, String>>,
}

impl LocalEnvironment {
    /// Returns an environment that records all events in `recorder`.
    #[must_use]
    pub fn new(recorder: Arc<MemoryRecorder>) -> Self {
        Self { recorder, management: OnceLock::new(), directives: Mutex::default() }
    }

    /// Sets the endpoint of `@connections` calls once it is known.
    pub fn connect_to(&self, endpoint: EndpointAddress) {
        // Later calls have no effect: a probe belongs to one endpoint.
        let _ = self.management.set(endpoint);
    }
}

#[async_trait]
impl ProbeEnvironment for LocalEnvironment {
    fn record_event(&self, event: &Event) {
        self.recorder.record(event.clone());
    }

    async fn store_directive(&self, connection: &str, directive: &str) -> anyhow::Result<()> {
        let mut directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        if directives.len() < MAX_STORED_DIRECTIVES {
            directives.entry(connection.to_owned()).or_insert_with(|| directive.to_owned());
        }
        Ok(())
    }

    async fn load_directive(&self, connection: &str) -> anyhow::Result<Option<String>> {
        let directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(directives.get(connection).cloned())
    }

    async fn take_directive(&self, connection: &str) -> anyhow::Result<Option<String>> {
        let mut directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(directives.remove(connection))
    }

    async fn call_management(&self, _: &Event, call: ManagementCall<'_>) -> anyhow::Result<ManagementResponse> {
        let endpoint = self.management.get().context("no endpoint for @connections calls")?;
        let request = client::ManagementRequest::new(call.method, endpoint, call.connection).body(call.body);
        let reply = client::call(endpoint, &request, CALL_TIMEOUT).await?;
        let (status, error_type) = reply.error();
        Ok(ManagementResponse { status, error_type: error_type.map(str::to_owned), body: reply.text() })
    }
}
