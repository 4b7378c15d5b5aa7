//! Directives: requests of a client for the behaviour of the probes.
//!
//! ```json
//! {"connect": ANSWER, "authorizer": ANSWER, "disconnect": ANSWER, "observer": "CONNECTION ID"}
//! ANSWER = {"after": ms, "call": {"method", "connection", "body"}, "note": "text",
//!           "return": any JSON, "pad": bytes | "throw": "message" | "event": true
//!           | "refuse": "crash" | "not_invokable" | "throttled"}
//! ```
//! Any other text is ignored, because a probe at a public endpoint must not fail for other clients.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::event::{Event, EventKind};

/// Directive that a client sent at connect.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Directive {
    /// Behaviour of `$connect`.
    pub connect: ProbeBehavior,
    /// Behaviour of the authorizer.
    pub authorizer: ProbeBehavior,
    /// Behaviour of `$disconnect`.
    pub disconnect: ProbeBehavior,
    /// Id of the connection that receives every event.
    pub observer: Option<String>,
}

/// Behaviour of one invocation: wait, call, note, return.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProbeBehavior {
    /// Delay in milliseconds before all other steps.
    pub after: u64,
    /// Call of `@connections` to make and record.
    pub call: Option<BehaviorCall>,
    /// Text to record after the call.
    pub note: Option<String>,
    /// Result of the function; may be `null`.
    #[serde(rename = "return", deserialize_with = "present")]
    pub returns: Option<Value>,
    /// Bytes of text to add to the context of the result, for sizes that exceed a query.
    pub pad: usize,
    /// Message of an error to fail with.
    pub throw: Option<String>,
    /// Other failure.
    pub refuse: Option<ProbeError>,
    /// Whether to return the event as the body.
    pub event: bool,
}

/// A call of `@connections`.
#[derive(Debug, Clone, Deserialize)]
pub struct BehaviorCall {
    pub method: String,
    /// Connection id; that of the event when absent.
    #[serde(default)]
    pub connection: Option<String>,
    #[serde(default)]
    pub body: String,
}

/// Failure of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeError {
    /// The function fails with this message.
    Throw(String),
    /// The process exits.
    Crash,
    /// The gateway has no permission to invoke the function.
    NotInvokable,
    /// The platform throttles the invocation.
    Throttled,
}

#[derive(Deserialize)]
struct MessageBody {
    answer: ProbeBehavior,
}

/// Returns the query parameter `probe` of a CONNECT event or an authorizer's request; empty when it is absent.
#[must_use]
pub fn directive_text(event: &Event) -> &str {
    event.value["queryStringParameters"]["probe"].as_str().unwrap_or_default()
}

impl Directive {
    /// Parses a directive; returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the behaviour for `event`; a message contains its own.
    #[must_use]
    pub fn for_event(&self, event: &Event) -> ProbeBehavior {
        match event.kind() {
            EventKind::Connect => self.connect.clone(),
            EventKind::Authorizer => self.authorizer.clone(),
            EventKind::Disconnect => self.disconnect.clone(),
            EventKind::Message | EventKind::Note => {
                let body = event.value["body"].as_str().unwrap_or_default();
                serde_json::from_str(body).map(|message: MessageBody| message.answer).unwrap_or_default()
            }
        }
    }
}

/// Deserializes `null` as a present value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_a_valid_result() {
        let behavior: ProbeBehavior = serde_json::from_str(r#"{"return": null}"#).unwrap();
        assert_eq!(behavior.returns, Some(Value::Null));
        let behavior: ProbeBehavior = serde_json::from_str(r#"{"refuse": "not_invokable"}"#).unwrap();
        assert_eq!((behavior.returns, behavior.refuse), (None, Some(ProbeError::NotInvokable)));
    }

    #[test]
    fn other_clients_get_the_default_result() {
        for query in ["", "hello", "[1]"] {
            let raw = format!(
                r#"{{"queryStringParameters":{{"probe":{query:?}}},"requestContext":{{"eventType":"CONNECT"}}}}"#
            );
            let event = Event::parse(raw).unwrap();
            assert!(Directive::parse(directive_text(&event)).is_none());
            assert!(Directive::default().for_event(&event).returns.is_none());
        }
    }
}
