//! What tests and benchmarks are made of: a harness around the real binary, clients, worlds, conformance, load.
//!
//! The tests themselves are in `tests/it` (scenarios, hostile input, crashes), `tests/conformance`, and `tests/adapters`
//! (Redis and PostgreSQL on real servers).

pub mod aws_local;
pub mod balancer;
mod child;
pub mod client;
pub mod conformance;
pub mod dynamodb;
pub mod eventually;
pub mod faults;
pub mod load;
pub mod pod_cluster;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod sam_events;
pub mod server;
pub mod tcp_proxy;
pub mod websocket;
pub mod world;
