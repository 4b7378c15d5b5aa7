//! Extensions API (2020-01-01), for internal extensions, which run within the function's process, and external ones, which
//! are processes of their own ([`crate::extension_process`]).
//!
//! An external extension registers with the name of its file. An extension receives the events that it registered for in
//! order; the oldest events beyond a limit are dropped if it does not poll.

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
/// Time that extensions have after SHUTDOWN, in milliseconds: internal ones, and external ones.
const SHUTDOWN_TIMEOUTS_MS: [u64; 2] = [500, 2000];

const IDENTIFIER_HEADER: &str = "lambda-extension-identifier";
const NAME_HEADER: &str = "lambda-extension-name";
const EVENT_IDENTIFIER_HEADER: &str = "lambda-extension-event-identifier";
const FEATURE_HEADER: &str = "lambda-extension-accept-feature";

/// The extensions of one sandbox.
pub(super) struct ExtensionRegistry {
    registered: Mutex<HashMap<String, Arc<RegisteredExtension>>>,
    /// Names of the external extensions.
    external: Vec<String>,
    external_registered: Notify,
}

struct RegisteredExtension {
    name: String,
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
    pub fn new(definition: &FunctionDefinition) -> Self {
        let files = definition.program.platform.extensions.iter().filter_map(|path| path.file_name());
        let external = files.map(|name| name.to_string_lossy().into_owned()).collect();
        Self { registered: Mutex::default(), external, external_registered: Notify::new() }
    }

    /// Waits until all external extensions are registered.
    pub async fn external_registered(&self) {
        loop {
            let changed = self.external_registered.notified();
            let missing = {
                let registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
                self.external.iter().any(|name| !registered.values().any(|extension| extension.name == *name))
            };
            if !missing {
                return;
            }
            changed.await;
        }
    }

    pub fn register(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        definition: &FunctionDefinition,
        identifier: String,
    ) -> RuntimeApiResponse {
        let Some(name) = headers.get(NAME_HEADER).and_then(|name| name.to_str().ok()) else {
            let message = "Missing Lambda-Extension-Name header";
            return error_response(StatusCode::FORBIDDEN, "Extension.InvalidExtensionName", message);
        };
        let is_external = self.external.iter().any(|external| external == name);
        let events = match parse_events(body, is_external) {
            Ok(events) => events,
            Err(rejection) => return rejection,
        };
        let mut extensions = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        if extensions.len() >= MAX_EXTENSIONS {
            return error_response(StatusCode::FORBIDDEN, "Extension.TooManyExtensions", "too many extensions");
        }
        let extension = RegisteredExtension {
            name: name.to_owned(),
            events,
            queued_events: Mutex::default(),
            event_queued: Notify::new(),
        };
        extensions.insert(identifier.clone(), Arc::new(extension));
        self.external_registered.notify_waiters();
        registration_response(headers, definition, &identifier)
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
                Some(event) => return event_response(&event),
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
        let deadline_ms = now_ms + SHUTDOWN_TIMEOUTS_MS[usize::from(!self.external.is_empty())];
        self.enqueue_event(
            "SHUTDOWN",
            || json!({"eventType": "SHUTDOWN", "shutdownReason": reason, "deadlineMs": deadline_ms}),
        );
    }

    fn enqueue_event(&self, kind: &str, event: impl Fn() -> Value) {
        let extensions = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
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
        self.registered.lock().unwrap_or_else(PoisonError::into_inner).get(identifier).cloned()
    }
}

/// Parses the events of a registration: INVOKE, and SHUTDOWN for external extensions only.
fn parse_events(body: &[u8], is_external: bool) -> Result<Vec<String>, RuntimeApiResponse> {
    let rejected = |kind, message| Err(error_response(StatusCode::FORBIDDEN, kind, message));
    let Ok(registration) = serde_json::from_slice::<ExtensionRegistration>(body) else {
        return rejected("InvalidRequestFormat", "the registration is not JSON");
    };
    let permitted: &[&str] = if is_external { &["INVOKE", "SHUTDOWN"] } else { &["INVOKE"] };
    if registration.events.iter().all(|event| permitted.contains(&&**event)) {
        return Ok(registration.events);
    }
    rejected("Extension.InvalidEventType", "the extension may register for INVOKE, and for SHUTDOWN if it is external")
}

fn registration_response(headers: &HeaderMap, definition: &FunctionDefinition, identifier: &str) -> RuntimeApiResponse {
    let mut body = json!({
        "functionName": definition.name,
        "functionVersion": "$LATEST",
        "handler": definition.program.handler,
    });
    if headers
        .get(FEATURE_HEADER)
        .and_then(|features| features.to_str().ok())
        .is_some_and(|it| it.contains("accountId"))
    {
        body["accountId"] = json!(definition.account_id);
    }
    let mut response = json_response(StatusCode::OK, &body);
    if let Ok(value) = HeaderValue::from_str(identifier) {
        response.headers_mut().insert(IDENTIFIER_HEADER, value);
    }
    response
}

fn event_response(event: &Value) -> RuntimeApiResponse {
    let mut response = json_response(StatusCode::OK, event);
    if let Ok(value) = HeaderValue::from_str(&crate::ids::request_id()) {
        response.headers_mut().insert(EVENT_IDENTIFIER_HEADER, value);
    }
    response
}
