//! Behaviour of API Gateway's WebSocket APIs as values and pure functions.
//!
//! The crate has no sockets, tasks, clocks or random numbers: time and random bits are arguments, and every function
//! returns the same result for the same input. The server calls it to decide how API Gateway would have responded.
//!
//! ```
//! use gateway::api::{ApiDefinition, ApiSettings, RouteDefinition};
//! use gateway::{Quotas, WebSocketApi};
//!
//! let route = |key: &str| RouteDefinition::lambda(key, "message");
//! let api = WebSocketApi::new(ApiDefinition {
//!     id: "a1b2c3d4e5".to_owned(),
//!     region: "eu-central-1".to_owned(),
//!     account_id: "123456789012".to_owned(),
//!     stage: "prod".to_owned(),
//!     stage_variables: Default::default(),
//!     routes: vec![route("$default"), route("chat")],
//!     selection: "$request.body.action".to_owned(),
//!     authorizer: None,
//!     api_key_required: false,
//!     quotas: Quotas::aws_profile(),
//!     settings: ApiSettings::default(),
//! })?;
//!
//! let route_of = |frame: &str| api.route_for(frame).map(|route| route.key.as_str());
//! assert_eq!(route_of(r#"{"action": "chat", "text": "hello"}"#), Some("chat"));
//! assert_eq!(route_of("not JSON"), Some("$default"));
//! # Ok::<(), gateway::api::ApiDefinitionError>(())
//! ```
//!
//! The modules by the input that they handle:
//!
//! ```text
//! upgrade ─ handshake ─ authorizer ─ connect ─ 101 or a rejection
//! path ─ base_path: the stage or a custom domain's base path
//! text frame ─ route ─ event::MessageEvent ─ reply ─ a frame or nothing
//! any ending ─ close ─ event::DisconnectEvent
//! POST | GET | DELETE /stage/@connections/id ─ management
//! signed requests ─ iam
//! ```
//!
//! Ids such as EV-2 or CON-5, here and in the names of tests, are rows of `docs/FIDELITY.md`.

pub mod api;
pub mod authorizer;
pub mod base_path;
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
