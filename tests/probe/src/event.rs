//! An event as a function got it: the bytes, the value, and its shape.
//!
//! Invariant: the bytes are kept, because key order and spacing are part of what is compared; nothing is parsed twice
//! into something else.

mod shape;

use anyhow::Context as _;
use serde_json::Value;

pub use self::shape::shape;

/// Which of the events it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// The authorizer's request.
    Authorizer,
    /// `CONNECT`
    Connect,
    /// `MESSAGE`
    Message,
    /// `DISCONNECT`
    Disconnect,
    /// No event: what a probe says about itself, for example how its call of `@connections` was answered.
    Note,
}

/// An event.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its bytes.
    pub raw: String,
    /// What they say.
    pub value: Value,
}

impl Event {
    /// Takes over an event's bytes.
    ///
    /// # Errors
    /// They are not JSON.
    pub fn parse(raw: String) -> anyhow::Result<Self> {
        let value = serde_json::from_str(&raw).context("an event that is not JSON")?;
        Ok(Self { raw, value })
    }

    /// Which event it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        if self.value["type"] == "REQUEST" {
            return EventKind::Authorizer;
        }
        match self.context("eventType") {
            "CONNECT" => EventKind::Connect,
            "MESSAGE" => EventKind::Message,
            "DISCONNECT" => EventKind::Disconnect,
            _ => EventKind::Note,
        }
    }

    /// A text of `requestContext`; empty when there is none.
    #[must_use]
    pub fn context(&self, field: &str) -> &str {
        self.value["requestContext"][field].as_str().unwrap_or_default()
    }

    /// A number of `requestContext`; -1 when there is none.
    #[must_use]
    pub fn number(&self, field: &str) -> i64 {
        self.value["requestContext"][field].as_i64().unwrap_or(-1)
    }

    /// The keys of the object at `pointer` (RFC 6901), in the order they came.
    ///
    /// # Errors
    /// There is no object.
    pub fn keys(&self, pointer: &str) -> anyhow::Result<Vec<String>> {
        shape::keys(&self.raw, pointer).with_context(|| format!("no object at {pointer:?} in {}", self.raw))
    }

    /// Whether something is at `pointer` (RFC 6901), be it `null`.
    #[must_use]
    pub fn has(&self, pointer: &str) -> bool {
        self.value.pointer(pointer).is_some()
    }
}
