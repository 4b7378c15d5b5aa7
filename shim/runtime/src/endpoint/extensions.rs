//! Extensions API (2020-01-01), for internal extensions, which run within the function's process.
//!
//! External extensions are not started: a pod has side-cars for that purpose. An extension receives the events that it
//! registered for in order; the oldest events beyond a limit are dropped if it does not poll.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::RuntimeApiResponse;
use super::response::{error_response, json_response};
use crate::definition::FunctionDefinition;
use crate::invocation::InvocationEvent;

/// Maximum extensions of a function (Lambda developer guide, `runtimes-extensions-api`).
const MAX_EXTENSIONS: usize = 10;
/// Maximum queued events of an extension.
const MAX_QUEUED_EVENTS: usize = 64;
/// Time that extensions have after SHUTDOWN, in milliseconds.
const SHUTDOWN_TIMEOUT_MS: u64 = 500;

const IDENTIFIER_HEADER: &str = "lambda-extension-identifier";
const NAME_HEADER: &str = "lambda-extension-name";

/// The extensions of one sandbox.
#[derive(Default)]
pub(super) struct ExtensionRegistry(Mutex<HashMap<String, Arc<RegisteredExtension>>>);

struct RegisteredExtension {
    events: Vec<String>,
    queued_events: Mutex<VecDeque<Value>>,
    event_queued: Notify,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExtensionRegistration {
    events: Vec<String>,
}

impl ExtensionRegistry {
    pub fn register(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        definition: &FunctionDefinition,
        identifier: String,
    ) -> RuntimeApiResponse {
        if !headers.contains_key(NAME_HEADER) {
            return error_response(
                StatusCode::FORBIDDEN,
                "Extension.InvalidExtensionName",
                "Missing Lambda-Extension-Name header",
            );
        }
        let Ok(registration) = serde_json::from_slice::<ExtensionRegistration>(body) else {
            return error_response(StatusCode::BAD_REQUEST, "InvalidRequestFormat", "the registration is not JSON");
        };
        let mut extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if extensions.len() >= MAX_EXTENSIONS {
            return error_response(StatusCode::FORBIDDEN, "Extension.TooManyExtensions", "too many extensions");
        }
        let mut response = json_response(
            StatusCode::OK,
            &json!({"functionName": definition.name, "functionVersion": "$LATEST", "handler": definition.program.handler}),
        );
        if let Ok(value) = HeaderValue::from_str(&identifier) {
            response.headers_mut().insert(IDENTIFIER_HEADER, value);
        }
        let extension = RegisteredExtension {
            events: registration.events,
            queued_events: Mutex::default(),
            event_queued: Notify::new(),
        };
        extensions.insert(identifier, Arc::new(extension));
        response
    }

    /// Waits for the extension's next event, without a timeout.
    pub async fn next_event(&self, headers: &HeaderMap) -> RuntimeApiResponse {
        let Some(extension) = self.find_extension(headers) else {
            return error_response(
                StatusCode::FORBIDDEN,
                "Extension.InvalidExtensionIdentifier",
                "Invalid extension identifier",
            );
        };
        loop {
            let queued = extension.event_queued.notified();
            let event = extension.queued_events.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match event {
                Some(event) => return json_response(StatusCode::OK, &event),
                None => queued.await,
            }
        }
    }

    /// Sends INVOKE to the extensions that registered for it.
    pub fn notify_invoke(&self, event: &InvocationEvent, arn: &str, deadline_ms: u64) {
        self.enqueue_event("INVOKE", || {
            json!({
                "eventType": "INVOKE",
                "deadlineMs": deadline_ms,
                "requestId": &*event.request_id,
                "invokedFunctionArn": arn,
                "tracing": {"type": "X-Amzn-Trace-Id", "value": &*event.trace_id},
            })
        });
    }

    /// Sends SHUTDOWN to the extensions that registered for it.
    pub fn notify_shutdown(&self, reason: &'static str, now_ms: u64) {
        self.enqueue_event(
            "SHUTDOWN",
            || json!({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": now_ms + SHUTDOWN_TIMEOUT_MS}),
        );
    }

    fn enqueue_event(&self, kind: &str, event: impl Fn() -> Value) {
        let extensions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for extension in extensions.values().filter(|extension| extension.events.iter().any(|event| event == kind)) {
            let mut queue = extension.queued_events.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.len() >= MAX_QUEUED_EVENTS {
                queue.pop_front();
            }
            queue.push_back(event());
            extension.event_queued.notify_one();
        }
    }

    fn find_extension(&self, headers: &HeaderMap) -> Option<Arc<RegisteredExtension>> {
        let identifier = headers.get(IDENTIFIER_HEADER)?.to_str().ok()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned()
    }
}
