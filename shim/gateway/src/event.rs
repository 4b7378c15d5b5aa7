//! The events of a connection: CONNECT, MESSAGE, DISCONNECT, and the authorizer's request.
//!
//! Each event borrows the [`ConnectionFacts`] and has two forms: `typed` builds the public event type without JSON, for
//! handlers in this process; `to_json` writes API Gateway's own bytes, in the key order of captures, for all others.
//! Invariant: both forms say the same. Keys that API Gateway leaves out are left out, never `null` (EV-3, IDN-5).

mod authorizer;
mod connect;
mod disconnect;
mod facts;
mod message;
mod record;
mod wire;

pub use crate::identity::{ApiKey, IamCaller, RequestIdentity};
pub use authorizer::AuthorizerEvent;
pub use connect::ConnectEvent;
pub use disconnect::DisconnectEvent;
pub use facts::ConnectionFacts;
pub use message::MessageEvent;
pub use record::ConnectionRecordError;

#[cfg(test)]
mod tests;
