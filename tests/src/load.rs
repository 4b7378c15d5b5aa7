//! The load generator: four scenarios over raw WebSocket frames, and the benchmark that sets servers beside each other.
//!
//! The generator must cost far less than the server it measures, so it decodes frames in place, masks its frames once,
//! reads into one shared buffer, and runs on one thread. Every scenario is bounded in connections and in time, ends by
//! itself, and refuses targets that are not on the loopback interface. It is no conformance client: it understands just
//! enough of RFC 6455 to count replies honestly.

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
