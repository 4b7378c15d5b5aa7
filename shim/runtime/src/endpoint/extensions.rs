//! The Extensions API (2020-01-01), for extensions that run within the function's process.
//!
//! Extensions that are programs of their own are not started: a pod has side-cars for that. Invariant: an extension hears
//! of what it registered for, in order; one that does not ask loses the oldest events beyond a bound.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Answer;
use super::answer::{error, json_answer};
use crate::definition::Definition;
use crate::invocation::Event;

/// Most extensions of a function (Lambda developer guide, `runtimes-extensions-api`).
const MOST: usize = 10;
/// Most events that wait for an extension.
const WAITING: usize = 64;
/// How long extensions have after SHUTDOWN, in milliseconds.
const SHUTDOWN_MS: u64 = 500;

const IDENTIFIER: &str = "lambda-extension-identifier";
const NAME: &str = "lambda-extension-name";

/// The extensions of one sandbox.
#[derive(Default)]
pub(super) struct Extensions(Mutex<HashMap<String, Arc<Extension>>>);

struct Extension {
    events: Vec<String>,
    waiting: Mutex<VecDeque<Value>>,
    came: Notify,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Registration {
    events: Vec<String>,
}

impl Extensions {
    pub fn register(&self, headers: &HeaderMap, body: &[u8], definition: &Definition, identifier: String) -> Answer {
        if !headers.contains_key(NAME) {
            return error(
                StatusCode::FORBIDDEN,
                "Extension.InvalidExtensionName",
                "Missing Lambda-Extension-Name header",
            );
        }
        let Ok(registration) = serde_json::from_slice::<Registration>(body) else {
            return error(StatusCode::BAD_REQUEST, "InvalidRequestFormat", "the registration is not JSON");
        };
        let mut extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if extensions.len() >= MOST {
            return error(StatusCode::FORBIDDEN, "Extension.TooManyExtensions", "too many extensions");
        }
        let mut answer = json_answer(
            StatusCode::OK,
            &json!({"functionName": definition.name, "functionVersion": "$LATEST", "handler": definition.program.handler}),
        );
        if let Ok(value) = HeaderValue::from_str(&identifier) {
            answer.headers_mut().insert(IDENTIFIER, value);
        }
        let extension = Extension { events: registration.events, waiting: Mutex::default(), came: Notify::new() };
        extensions.insert(identifier, Arc::new(extension));
        answer
    }

    /// Waits for the extension's next event as long as it takes.
    pub async fn next(&self, headers: &HeaderMap) -> Answer {
        let Some(extension) = self.named(headers) else {
            return error(
                StatusCode::FORBIDDEN,
                "Extension.InvalidExtensionIdentifier",
                "Invalid extension identifier",
            );
        };
        loop {
            let came = extension.came.notified();
            let event = extension.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match event {
                Some(event) => return json_answer(StatusCode::OK, &event),
                None => came.await,
            }
        }
    }

    /// Tells those who registered for INVOKE.
    pub fn invoked(&self, event: &Event, arn: &str, deadline_ms: u64) {
        self.tell("INVOKE", || {
            json!({
                "eventType": "INVOKE",
                "deadlineMs": deadline_ms,
                "requestId": &*event.request_id,
                "invokedFunctionArn": arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": &*event.trace_id},
            })
        });
    }

    /// Tells those who registered for SHUTDOWN.
    pub fn shut_down(&self, reason: &'static str, now_ms: u64) {
        self.tell(
            "SHUTDOWN",
            || json!({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": now_ms + SHUTDOWN_MS}),
        );
    }

    fn tell(&self, kind: &str, event: impl Fn() -> Value) {
        let extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for extension in extensions.values().filter(|extension| extension.events.iter().any(|event| event == kind)) {
            let mut waiting = extension.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= WAITING {
                waiting.pop_front();
            }
            waiting.push_back(event());
            extension.came.notify_one();
        }
    }

    fn named(&self, headers: &HeaderMap) -> Option<Arc<Extension>> {
        let identifier = headers.get(IDENTIFIER)?.to_str().ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned()
    }
}
