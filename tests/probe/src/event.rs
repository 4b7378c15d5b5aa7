//! Event as a function received it: bytes, parsed value and shape.
//!
//! The bytes are retained, because the suite compares key order and spacing as well.

mod shape;

use anyhow::Context as _;
use serde_json::Value;

pub use self::shape::shape;

/// Kind of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Request of the authorizer.
    Authorizer,
    /// `CONNECT`
    Connect,
    /// `MESSAGE`
    Message,
    /// `DISCONNECT`
    Disconnect,
    /// Report of the probe itself, for example the response to its call of `@connections`.
    Note,
}

/// An event or a note.
#[derive(Debug, Clone)]
pub struct Event {
    /// JSON as received.
    pub raw: String,
    /// Parsed JSON.
    pub value: Value,
}

impl Event {
    /// Parses an event.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn parse(raw: String) -> anyhow::Result<Self> {
        let value = serde_json::from_str(&raw).context("event is not JSON")?;
        Ok(Self { raw, value })
    }

    /// Returns the kind of the event.
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

    /// Returns a string of `requestContext`; empty when it is absent.
    #[must_use]
    pub fn context(&self, field: &str) -> &str {
        self.value["requestContext"][field].as_str().unwrap_or_default()
    }

    /// Returns a number of `requestContext`; -1 when it is absent.
    #[must_use]
    pub fn number(&self, field: &str) -> i64 {
        self.value["requestContext"][field].as_i64().unwrap_or(-1)
    }

    /// Returns the keys of the object at `pointer` (RFC 6901), in their order.
    ///
    /// # Errors
    /// There is no object at `pointer`.
    pub fn keys(&self, pointer: &str) -> anyhow::Result<Vec<String>> {
        shape::keys(&self.raw, pointer).with_context(|| format!("no object at {pointer:?} in {}", self.raw))
    }

    /// Returns whether there is a value at `pointer` (RFC 6901), including `null`.
    #[must_use]
    pub fn has(&self, pointer: &str) -> bool {
        self.value.pointer(pointer).is_some()
    }
}
