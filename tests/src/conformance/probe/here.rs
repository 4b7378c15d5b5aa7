//! This process as the surroundings of a probe: a recorder hears its events, a map remembers what clients said.
//!
//! Invariant: it serves one endpoint, and calls `@connections` there whatever address an event names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use probes::event::Event;
use probes::{Call, Called, Surroundings};

use crate::conformance::client;
use crate::conformance::recorder::Memory;
use crate::conformance::wire::place::Place;

/// Most connections whose directive is remembered for their `$disconnect`; beyond it new ones are not.
const REMEMBERED: usize = 4096;
/// How long a call of `@connections` may take.
const CALL_PATIENCE: Duration = Duration::from_secs(5);

/// This process.
pub struct Here {
    recorder: Arc<Memory>,
    management: OnceLock<Place>,
    directives: Mutex<HashMap<String, String>>,
}

impl Here {
    /// A place where `recorder` hears of everything.
    #[must_use]
    pub fn new(recorder: Arc<Memory>) -> Self {
        Self { recorder, management: OnceLock::new(), directives: Mutex::default() }
    }

    /// Says where `@connections` is, as soon as that is known.
    pub fn connect_to(&self, place: Place) {
        // Only the first address counts: a probe belongs to one endpoint.
        let _ = self.management.set(place);
    }
}

#[async_trait]
impl Surroundings for Here {
    fn hear(&self, event: &Event) {
        self.recorder.record(event.clone());
    }

    async fn remember(&self, connection: &str, directive: &str) -> anyhow::Result<()> {
        let mut directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        if directives.len() < REMEMBERED {
            directives.entry(connection.to_owned()).or_insert_with(|| directive.to_owned());
        }
        Ok(())
    }

    async fn recall(&self, connection: &str) -> anyhow::Result<Option<String>> {
        let directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(directives.get(connection).cloned())
    }

    async fn forget(&self, connection: &str) -> anyhow::Result<Option<String>> {
        let mut directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(directives.remove(connection))
    }

    async fn call(&self, _: &Event, call: Call<'_>) -> anyhow::Result<Called> {
        let place = self.management.get().context("no address of @connections")?;
        let request = client::Call::new(call.method, place, call.connection).body(call.body);
        let answer = client::call(place, &request, CALL_PATIENCE).await?;
        let (status, error_type) = answer.error();
        Ok(Called { status, error_type: error_type.map(str::to_owned), body: answer.text() })
    }
}
