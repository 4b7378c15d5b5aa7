//! Events of a connection: CONNECT, MESSAGE, DISCONNECT, and the authorizer's request.
//!
//! Each event borrows the [`ConnectionFacts`] and has two equivalent forms: `into_lambda_event` builds the type of
//! `aws_lambda_events` without JSON, for handlers in this process; `to_json` writes the bytes of API Gateway, in the
//! key order of captures, for all other handlers. Keys that API Gateway omits are omitted, never `null` (EV-3, IDN-5).

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
