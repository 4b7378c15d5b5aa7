//! Handling of an event by a probe, independent of its environment.
//!
//! An event is recorded before anything else. The behaviour depends on the event and on the directive that the client
//! sent at connect. The [`ProbeEnvironment`] stores the directives and calls `@connections`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::directive::{self, BehaviorCall, Directive, ProbeBehavior, ProbeError};
use crate::event::{Event, EventKind};

/// Maximum bytes of an event that is posted to an observer; a larger one does not fit into a message.
const MAX_OBSERVED_BYTES: usize = 120 * 1024;

/// Port of a probe to its environment.
#[async_trait]
pub trait ProbeEnvironment: Send + Sync {
    /// Records an event or a note; called before all other steps.
    fn record_event(&self, event: &Event);

    /// Stores the directive of a connection. The first call wins, because the authorizer and `$connect` receive the
    /// same directive. It may be deleted after the maximum lifetime of a connection.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn store_directive(&self, connection: &str, directive: &str) -> anyhow::Result<()>;

    /// Returns the directive of a connection; `None` when there is none.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn load_directive(&self, connection: &str) -> anyhow::Result<Option<String>>;

    /// Deletes and returns the directive of a connection; of two concurrent calls only one gets it.
    ///
    /// # Errors
    /// The store is unavailable.
    async fn take_directive(&self, connection: &str) -> anyhow::Result<Option<String>>;

    /// Calls `@connections` of the API of `event`, without retries.
    ///
    /// # Errors
    /// There is no response within the timeout. A response with any status is a result.
    async fn call_management(&self, event: &Event, call: ManagementCall<'_>) -> anyhow::Result<ManagementResponse>;
}

/// A call of `@connections`.
#[derive(Debug, Clone, Copy)]
pub struct ManagementCall<'a> {
    /// HTTP method, also one that the API does not have.
    pub method: &'a str,
    /// Connection id, unencoded.
    pub connection: &'a str,
    pub body: &'a str,
}

/// Response of `@connections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementResponse {
    pub status: u16,
    /// Header `x-amzn-ErrorType`.
    pub error_type: Option<String>,
    pub body: String,
}

/// Functions of the probed API.
pub struct Probe {
    environment: Arc<dyn ProbeEnvironment>,
}

/// Invocation for one event, with its observer.
struct ProbeInvocation<'a> {
    environment: &'a dyn ProbeEnvironment,
    event: &'a Event,
    observer: Option<&'a str>,
}

impl Probe {
    /// Creates a probe in an environment.
    #[must_use]
    pub fn new(environment: Arc<dyn ProbeEnvironment>) -> Self {
        Self { environment }
    }

    /// Handles one event: records it, runs the requested behaviour, and returns the function's result.
    ///
    /// # Errors
    /// The directive requests a failure, or the environment failed, which is reported as an error of the function.
    pub async fn invoke(&self, raw: Vec<u8>) -> Result<Value, ProbeError> {
        let event = Event::parse(String::from_utf8_lossy(&raw).into_owned()).map_err(|_| ProbeError::Crash)?;
        let directive = self.directive(&event).await.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "directive lookup failed");
            ProbeError::Throw("directive lookup failed".to_owned())
        })?;
        let behavior = directive.for_event(&event);
        let observer = directive.observer.as_deref();
        let invocation = ProbeInvocation { environment: &*self.environment, event: &event, observer };
        invocation.run_behavior(&behavior).await;
        function_result(behavior, &event)
    }

    /// Returns the directive of the event's connection, which is stored from connect to disconnect.
    async fn directive(&self, event: &Event) -> anyhow::Result<Directive> {
        let connection = event.context("connectionId");
        let stored = match event.kind() {
            EventKind::Connect | EventKind::Authorizer => {
                let text = directive::directive_text(event);
                let Some(directive) = Directive::parse(text) else { return Ok(Directive::default()) };
                self.environment.store_directive(connection, text).await?;
                return Ok(directive);
            }
            EventKind::Disconnect => self.environment.take_directive(connection).await?,
            EventKind::Message | EventKind::Note => self.environment.load_directive(connection).await?,
        };
        Ok(stored.as_deref().and_then(Directive::parse).unwrap_or_default())
    }
}

impl ProbeInvocation<'_> {
    async fn run_behavior(&self, behavior: &ProbeBehavior) {
        self.record(self.event).await;
        if behavior.after > 0 {
            tokio::time::sleep(Duration::from_millis(behavior.after)).await;
        }
        if let Some(call) = &behavior.call {
            let note = self.call(call).await;
            self.note(&note).await;
        }
        if let Some(text) = &behavior.note {
            self.note(&json!({"note": text})).await;
        }
    }

    async fn record(&self, event: &Event) {
        self.environment.record_event(event);
        if let Some(connection) = self.observer
            && event.raw.len() <= MAX_OBSERVED_BYTES
        {
            let call = ManagementCall { method: "POST", connection, body: &event.raw };
            // Fails when the observer has disconnected; its test case has failed already.
            let _ = self.environment.call_management(self.event, call).await;
        }
    }

    async fn note(&self, note: &Value) {
        if let Ok(event) = Event::parse(note.to_string()) {
            self.record(&event).await;
        }
    }

    async fn call(&self, requested: &BehaviorCall) -> Value {
        let connection = requested.connection.as_deref().unwrap_or(self.event.context("connectionId"));
        let call = ManagementCall { method: &requested.method, connection, body: &requested.body };
        match self.environment.call_management(self.event, call).await {
            Ok(ManagementResponse { status, error_type, body }) => {
                json!({"status": status, "errorType": error_type, "body": body})
            }
            Err(error) => json!({"failed": error.to_string()}),
        }
    }
}

fn function_result(behavior: ProbeBehavior, event: &Event) -> Result<Value, ProbeError> {
    if let Some(error) = behavior.refuse {
        return Err(error);
    }
    if let Some(message) = behavior.throw {
        return Err(ProbeError::Throw(message));
    }
    if behavior.event {
        return Ok(json!({"statusCode": 200, "body": event.raw}));
    }
    let length = event.value["body"].as_str().map(str::len);
    let default_result = || match event.context("routeKey") {
        "ask" => json!({"statusCode": 200, "body": length.unwrap_or_default().to_string()}),
        _ => json!({"statusCode": 200}),
    };
    let mut result = behavior.returns.unwrap_or_else(default_result);
    if behavior.pad > 0 {
        result["context"] = json!({"text": "x".repeat(behavior.pad)});
    }
    Ok(result)
}
