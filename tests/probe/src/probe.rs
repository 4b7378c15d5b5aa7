//! What a probe does with an event, wherever it runs.
//!
//! Invariant: an event is recorded before anything is done about it, and what it is to do is known from it and from what
//! was said when its connection was opened. Who keeps that, and how clients are reached, is up to the [`ProbeEnvironment`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::directive::{self, BehaviorCall, Directive, ProbeBehavior, ProbeError};
use crate::event::{Event, EventKind};

/// Most bytes of an event that are posted to an observer: a larger one would not fit into a message.
const MAX_OBSERVED_BYTES: usize = 120 * 1024;

/// The place where a probe runs.
#[async_trait]
pub trait ProbeEnvironment: Send + Sync {
    /// Hears of an event or a note, before anybody else does.
    fn record_event(&self, event: &Event);

    /// Remembers what was said when a connection was opened. Of two sayings the first counts: the authorizer and
    /// `$connect` are told the same. May forget it after the longest life of a connection.
    ///
    /// # Errors
    /// It cannot be remembered.
    async fn store_directive(&self, connection: &str, directive: &str) -> anyhow::Result<()>;

    /// What is remembered of a connection; `None` when nothing was said.
    ///
    /// # Errors
    /// It cannot be known.
    async fn load_directive(&self, connection: &str) -> anyhow::Result<Option<String>>;

    /// The same, for the last time: of two askers one is answered.
    ///
    /// # Errors
    /// It cannot be known.
    async fn take_directive(&self, connection: &str) -> anyhow::Result<Option<String>>;

    /// Calls `@connections` of the API that `event` came from, once.
    ///
    /// # Errors
    /// There is no answer in time. Any answer, refusals included, is a result.
    async fn call_management(&self, event: &Event, call: ManagementCall<'_>) -> anyhow::Result<ManagementResponse>;
}

/// A call of `@connections`.
#[derive(Debug, Clone, Copy)]
pub struct ManagementCall<'a> {
    /// `POST`, `GET`, `DELETE`, or anything else.
    pub method: &'a str,
    /// The connection's id, as it is.
    pub connection: &'a str,
    /// The body.
    pub body: &'a str,
}

/// How it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementResponse {
    /// The status.
    pub status: u16,
    /// The field `x-amzn-ErrorType`.
    pub error_type: Option<String>,
    /// The body as text.
    pub body: String,
}

/// The functions behind the probed API.
pub struct Probe {
    environment: Arc<dyn ProbeEnvironment>,
}

/// One event and who is to hear of it.
struct ProbeInvocation<'a> {
    environment: &'a dyn ProbeEnvironment,
    event: &'a Event,
    observer: Option<&'a str>,
}

impl Probe {
    /// A probe in these surroundings.
    #[must_use]
    pub fn new(surroundings: Arc<dyn ProbeEnvironment>) -> Self {
        Self { environment: surroundings }
    }

    /// Handles one event: records it, does as told, and gives the function's result.
    ///
    /// # Errors
    /// The function is to fail, or its surroundings failed it, which looks like an error that it throws.
    pub async fn invoke(&self, raw: Vec<u8>) -> Result<Value, ProbeError> {
        let event = Event::parse(String::from_utf8_lossy(&raw).into_owned()).map_err(|_| ProbeError::Crash)?;
        let directive = self.directive(&event).await.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "what a client said is not known");
            ProbeError::Throw("what the client said is not known".to_owned())
        })?;
        let told = directive.for_event(&event);
        let observer = directive.observer.as_deref();
        let invocation = ProbeInvocation { environment: &*self.environment, event: &event, observer };
        invocation.run_behavior(&told).await;
        result(told, &event)
    }

    /// What the client said about this event's connection; remembered from connect to disconnect.
    async fn directive(&self, event: &Event) -> anyhow::Result<Directive> {
        let connection = event.context("connectionId");
        let remembered = match event.kind() {
            EventKind::Connect | EventKind::Authorizer => {
                let said = directive::directive_text(event);
                let Some(directive) = Directive::parse(said) else { return Ok(Directive::default()) };
                self.environment.store_directive(connection, said).await?;
                return Ok(directive);
            }
            EventKind::Disconnect => self.environment.take_directive(connection).await?,
            EventKind::Message | EventKind::Note => self.environment.load_directive(connection).await?,
        };
        Ok(remembered.as_deref().and_then(Directive::parse).unwrap_or_default())
    }
}

impl ProbeInvocation<'_> {
    async fn run_behavior(&self, told: &ProbeBehavior) {
        self.record(self.event).await;
        if told.after > 0 {
            tokio::time::sleep(Duration::from_millis(told.after)).await;
        }
        if let Some(call) = &told.call {
            let note = self.call(call).await;
            self.note(&note).await;
        }
        if let Some(text) = &told.note {
            self.note(&json!({"note": text})).await;
        }
    }

    async fn record(&self, event: &Event) {
        self.environment.record_event(event);
        if let Some(connection) = self.observer
            && event.raw.len() <= MAX_OBSERVED_BYTES
        {
            let call = ManagementCall { method: "POST", connection, body: &event.raw };
            // An observer that is gone observes nothing; its case has failed already.
            let _ = self.environment.call_management(self.event, call).await;
        }
    }

    async fn note(&self, note: &Value) {
        if let Ok(event) = Event::parse(note.to_string()) {
            self.record(&event).await;
        }
    }

    async fn call(&self, told: &BehaviorCall) -> Value {
        let connection = told.connection.as_deref().unwrap_or(self.event.context("connectionId"));
        let call = ManagementCall { method: &told.method, connection, body: &told.body };
        match self.environment.call_management(self.event, call).await {
            Ok(ManagementResponse { status, error_type, body }) => {
                json!({"status": status, "errorType": error_type, "body": body})
            }
            Err(error) => json!({"failed": error.to_string()}),
        }
    }
}

fn result(told: ProbeBehavior, event: &Event) -> Result<Value, ProbeError> {
    if let Some(refusal) = told.refuse {
        return Err(refusal);
    }
    if let Some(message) = told.throw {
        return Err(ProbeError::Throw(message));
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
