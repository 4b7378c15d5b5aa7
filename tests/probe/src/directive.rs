//! What a client can tell the probes to do.
//!
//! ```json
//! {"connect": ANSWER, "authorizer": ANSWER, "disconnect": ANSWER, "observer": "CONNECTION ID"}
//! ANSWER = {"after": ms, "call": {"method", "connection", "body"}, "note": "text",
//!           "return": any JSON, "pad": bytes | "throw": "message" | "refuse": "crash" | "not_invokable" | "throttled" | "event": true}
//! ```
//! A text that is no directive is none: a probe behind a public endpoint must not fail because of strangers.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::event::{Event, EventKind};

/// What was said at connect.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Directive {
    /// What `$connect` is to do.
    pub connect: ProbeBehavior,
    /// What the authorizer is to do.
    pub authorizer: ProbeBehavior,
    /// What `$disconnect` is to do.
    pub disconnect: ProbeBehavior,
    /// The connection to post every event to.
    pub observer: Option<String>,
}

/// What one invocation is to do: wait, call, note, then answer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ProbeBehavior {
    /// Milliseconds to wait before anything else.
    pub after: u64,
    /// A call of `@connections` to make and record.
    pub call: Option<BehaviorCall>,
    /// A text to record when everything else is done.
    pub note: Option<String>,
    /// The function's result, `null` included.
    #[serde(rename = "return", deserialize_with = "present")]
    pub returns: Option<Value>,
    /// Bytes of text to put into the context of the result: more than fits into a query.
    pub pad: usize,
    /// Fail with this message.
    pub throw: Option<String>,
    /// Fail in another way.
    pub refuse: Option<ProbeError>,
    /// Answer with the event itself as the body.
    pub event: bool,
}

/// A call of `@connections`.
#[derive(Debug, Clone, Deserialize)]
pub struct BehaviorCall {
    /// The method.
    pub method: String,
    /// The connection; its own when absent.
    #[serde(default)]
    pub connection: Option<String>,
    /// The body.
    #[serde(default)]
    pub body: String,
}

/// How a function fails.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeError {
    /// It throws an error with this message.
    Throw(String),
    /// It crashes.
    Crash,
    /// The gateway may not invoke it.
    NotInvokable,
    /// The platform refuses to run it, for its rate.
    Throttled,
}

#[derive(Deserialize)]
struct MessageBody {
    answer: ProbeBehavior,
}

/// What the query of a CONNECT event or an authorizer's request says, be it a directive or not; empty when it says nothing.
#[must_use]
pub fn directive_text(event: &Event) -> &str {
    event.value["queryStringParameters"]["probe"].as_str().unwrap_or_default()
}

impl Directive {
    /// The directive that a text is, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// What is to be done with `event`; what a message says counts for that message.
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

/// Keeps `null` apart from absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_something_to_return() {
        let told: ProbeBehavior = serde_json::from_str(r#"{"return": null}"#).unwrap();
        assert_eq!(told.returns, Some(Value::Null));
        let told: ProbeBehavior = serde_json::from_str(r#"{"refuse": "not_invokable"}"#).unwrap();
        assert_eq!((told.returns, told.refuse), (None, Some(ProbeError::NotInvokable)));
    }

    #[test]
    fn strangers_get_the_ordinary_answer() {
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
