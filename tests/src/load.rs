//! The load generator: four scenarios over raw WebSocket frames, and the benchmark that compares servers.
//!
//! The generator must use far less CPU than the server it measures, so it decodes frames in place, masks its frames
//! once, reads into one shared buffer, and runs on one thread. Every scenario is bounded in connections and in time,
//! ends by itself, and rejects targets outside the loopback interface. It is not a conformance client: it implements
//! just enough of RFC 6455 to count replies correctly.

pub mod bench;
pub mod connect;
pub mod connection;
pub mod dialer;
pub mod echo;
pub mod fanout;
pub mod frame;
pub mod idle;
pub mod inflate;
pub mod process;
pub mod report;
pub mod target;
pub mod template;
