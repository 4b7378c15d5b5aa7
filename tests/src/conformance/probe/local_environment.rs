//! This process as the surroundings of a probe: a recorder hears its events, a map remembers what clients said.
//!
//! Invariant: it serves one endpoint, and calls `@connections` there whatever address an event names.

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

/// Most connections whose directive is remembered for their `$disconnect`; beyond it new ones are not.
const MAX_STORED_DIRECTIVES: usize = 4096;
/// How long a call of `@connections` may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// This process.
pub struct LocalEnvironment {
    recorder: Arc<MemoryRecorder>,
    management: OnceLock<EndpointAddress>,
    directives: Mutex<HashMap<String, String>>,
}

impl LocalEnvironment {
    /// A place where `recorder` hears of everything.
    #[must_use]
    pub fn new(recorder: Arc<MemoryRecorder>) -> Self {
        Self { recorder, management: OnceLock::new(), directives: Mutex::default() }
    }

    /// Says where `@connections` is, as soon as that is known.
    pub fn connect_to(&self, place: EndpointAddress) {
        // Only the first address counts: a probe belongs to one endpoint.
        let _ = self.management.set(place);
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
        let place = self.management.get().context("no address of @connections")?;
        let request = client::ManagementRequest::new(call.method, place, call.connection).body(call.body);
        let answer = client::call(place, &request, CALL_TIMEOUT).await?;
        let (status, error_type) = answer.error();
        Ok(ManagementResponse { status, error_type: error_type.map(str::to_owned), body: answer.text() })
    }
}
