//! API Gateway for everywhere else.
//!
//! The shim owns the sockets, turns what happens on them into API Gateway events, hands those to the handlers, and maps
//! their answers back. What API Gateway *does* is in the `gateway` crate, what the application does in `handlers`; here is
//! what moves bytes: server, sessions, hub, storage, operations.

pub mod access;
mod breaker;
pub mod bus;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod drain;
pub mod embedded;
pub mod exit_code;
pub mod functions;
pub mod hub;
pub mod logging;
pub mod metrics;
pub mod postgres;
pub mod readiness;
pub mod redis;
pub mod running;
pub mod secret;
pub mod serve;
pub mod server;
pub mod session;
pub mod wiring;
