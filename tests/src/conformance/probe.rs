//! The probe handlers: they record every event they get and answer as the client told them to.
//!
//! A client tells them at connect in `?probe={"connect":…,"authorizer":…,"disconnect":…}` and per message in
//! `{"action":…,"answer":{…}}`; see [`directive`]. Not told anything, they answer 200, and route `ask` with the length of
//! the message. Invariant: a probe decides by the JSON of the event alone, so the same logic can stand behind any gateway.

pub mod desk;
pub mod directive;
pub mod executable;
mod functions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::functions::Functional;

use self::directive::{Directive, Refusal, Told};
use super::client::{Call, call};
use super::event::{Event, Kind};
use super::recorder::Memory;
use super::wire::place::Place;

/// Most connections whose directive is remembered for their `$disconnect`; beyond it new ones are not.
const REMEMBERED: usize = 4096;
/// How long a call of `@connections` may take.
const CALL_PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an event that are posted to an observer: a larger one would not fit into a message.
const OBSERVED_BYTES: usize = 120 * 1024;

/// The functions behind the probed API.
pub struct Probe {
    recorder: Arc<Memory>,
    management: OnceLock<Place>,
    directives: Mutex<HashMap<String, Directive>>,
}

impl Probe {
    /// Probes that record into `recorder`.
    #[must_use]
    pub fn new(recorder: Arc<Memory>) -> Self {
        Self { recorder, management: OnceLock::new(), directives: Mutex::default() }
    }

    /// Says where `@connections` is, as soon as that is known.
    pub fn connect_to(&self, place: Place) {
        // Only the first address counts: a probe belongs to one endpoint.
        let _ = self.management.set(place);
    }

    /// Handles one event: records it, does as told, and gives the function's result.
    async fn invoke(self: Arc<Self>, raw: Vec<u8>) -> Result<Value, Refusal> {
        let event = Event::parse(String::from_utf8_lossy(&raw).into_owned()).map_err(|_| Refusal::Crash)?;
        let directive = self.directive(&event);
        let told = directive.for_event(&event);
        self.record(&event, directive.observer.as_deref()).await;
        if told.after > 0 {
            tokio::time::sleep(Duration::from_millis(told.after)).await;
        }
        if let Some(call) = &told.call {
            let note = self.call(call, event.context("connectionId")).await;
            self.note(&note, directive.observer.as_deref()).await;
        }
        if let Some(text) = &told.note {
            self.note(&json!({"note": text}), directive.observer.as_deref()).await;
        }
        result(told, &event)
    }

    /// What the client said about this event's connection; remembered from connect to disconnect.
    fn directive(&self, event: &Event) -> Directive {
        let connection = event.context("connectionId").to_owned();
        let mut directives = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        match event.kind() {
            Kind::Connect | Kind::Authorizer => {
                let directive = Directive::from_query(event);
                if directives.len() < REMEMBERED {
                    directives.insert(connection, directive.clone());
                }
                directive
            }
            Kind::Disconnect => directives.remove(&connection).unwrap_or_default(),
            Kind::Message | Kind::Note => directives.get(&connection).cloned().unwrap_or_default(),
        }
    }

    async fn record(&self, event: &Event, observer: Option<&str>) {
        self.recorder.record(event.clone());
        if let Some(observer) = observer
            && event.raw.len() <= OBSERVED_BYTES
        {
            self.post(observer, event.raw.clone()).await;
        }
    }

    async fn note(&self, note: &Value, observer: Option<&str>) {
        if let Ok(event) = Event::parse(note.to_string()) {
            self.record(&event, observer).await;
        }
    }

    async fn post(&self, connection: &str, body: String) {
        if let Some(place) = self.management.get() {
            // An observer that is gone observes nothing; its case has failed already.
            let _ = call(place, &Call::new("POST", place, connection).body(body), CALL_PATIENCE).await;
        }
    }

    async fn call(&self, told: &directive::ToldCall, own: &str) -> Value {
        let Some(place) = self.management.get() else { return json!({"failed": "no address of @connections"}) };
        let connection = told.connection.as_deref().unwrap_or(own);
        let request = Call::new(&told.method, place, connection).body(told.body.clone());
        match call(place, &request, CALL_PATIENCE).await {
            Ok(answer) => {
                let (status, error_type) = answer.error();
                json!({"status": status, "errorType": error_type, "body": answer.text()})
            }
            Err(error) => json!({"failed": error.to_string()}),
        }
    }
}

fn result(told: Told, event: &Event) -> Result<Value, Refusal> {
    if let Some(refusal) = told.refuse {
        return Err(refusal);
    }
    if let Some(message) = told.throw {
        return Err(Refusal::Throw(message));
    }
    if told.event {
        return Ok(json!({"statusCode": 200, "body": event.raw}));
    }
    let length = event.value["body"].as_str().map(str::len);
    let measured = || match event.context("routeKey") {
        "ask" => json!({"statusCode": 200, "body": length.unwrap_or_default().to_string()}),
        _ => json!({"statusCode": 200}),
    };
    let mut result = told.returns.unwrap_or_else(measured);
    if told.pad > 0 {
        result["context"] = json!({"text": "x".repeat(told.pad)});
    }
    Ok(result)
}
