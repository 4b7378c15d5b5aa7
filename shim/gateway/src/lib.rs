//! What API Gateway's WebSocket APIs do, as values and pure functions.
//!
//! The crate knows no sockets, tasks, clocks or randomness: time and random bits are arguments, and every function
//! gives the same answer for the same input. Whoever owns the sockets asks here what API Gateway would have said.
//!
//! ```text
//! upgrade ─ handshake ─ authorizer ─ connect ─ 101 or a rejection
//! text frame ─ route ─ event::MessageEvent ─ reply ─ a frame or nothing
//! any ending ─ close ─ event::DisconnectEvent
//! POST | GET | DELETE /stage/@connections/id ─ management
//! signed requests ─ iam
//! ```
//!
//! Ids such as EV-2 or CON-5, here and in the names of tests, are rows of `docs/FIDELITY.md`.

pub mod api;
pub mod authorizer;
pub mod close;
pub mod event;
pub mod handshake;
pub mod iam;
pub mod id;
mod identity;
mod identity_source;
pub mod management;
pub mod model;
mod policy;
pub mod quotas;
pub mod reply;
pub mod route;
pub mod time;

#[cfg(test)]
mod samples;

pub use api::{ApiDefinition, ApiStage, WebSocketApi};
pub use close::CloseCause;
pub use id::GatewayId;
pub use quotas::Quotas;
