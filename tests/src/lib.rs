//! Test harness: the real binary as a process, clients, worlds for scenarios, conformance cases, fault injection,
//! load generator.
//!
//! The tests themselves are in `tests/it` (scenarios, hostile input, crashes), `tests/conformance`, `tests/adapters`
//! (Redis and PostgreSQL on real servers), `tests/cluster`, `tests/lambda` and `tests/faults`.
//!
//! A test that starts a server, connects a client and sends a message:
//!
//! ```no_run
//! use tests::client::Client;
//! use tests::server::{SECRET, TwinwayServer};
//! use tests::world::{TokenClaims, sign_token};
//!
//! # async fn example() {
//! let server = TwinwayServer::launch().in_memory().start().await;
//! let token = sign_token(SECRET, &TokenClaims::user("alice"));
//! let mut alice = Client::dial(&server.socket_url(), "alice").with_token(&token).open().await;
//! alice.join_channels("join", &["room:lobby"]).await;
//! let ack = alice.send_to_channel("room:lobby", "hello").await;
//! assert_eq!(ack["offset"], 1);
//! alice.close().await.assert_complete("alice");
//! # }
//! ```

pub mod aws_local;
pub mod balancer;
mod child;
pub mod client;
pub mod conformance;
pub mod dynamodb;
pub mod eventually;
pub mod faults;
pub mod key_server;
pub mod load;
pub mod pod_cluster;
pub mod ports;
pub mod postgres;
pub mod redis;
pub mod reverse_proxy;
pub mod sam_events;
pub mod server;
pub mod tcp_proxy;
pub mod websocket;
pub mod world;
