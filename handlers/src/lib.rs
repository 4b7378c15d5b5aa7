//! The messaging application, written once against API Gateway's event types.
//!
//! Events come in ([`connect`], [`disconnect`], [`message`], [`authorizer`], [`api`]), effects go out through the four
//! [`ports`]. The crate is pure: it knows no cloud SDK, no Redis, no web server, no environment and no clock of its own,
//! so the same code runs as Lambda functions and inside a pod.

pub mod api;
pub mod app;
pub mod archive;
pub mod audience;
pub mod authorizer;
pub mod channel;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod connect;
pub mod disconnect;
pub mod frame;
pub mod id;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod message;
pub mod ports;
