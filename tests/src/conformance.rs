//! The conformance suite: every row of the API Gateway catalogue as a black-box case over HTTP and WebSocket.
//!
//! ```text
//! cases ── World ──┬─ local: one in-process shim per case, probe handlers, events recorded in memory
//!                  └─ remote: any ws:// or wss:// endpoint with the same probes, events posted to an observer
//!                             (aws_local: such an endpoint on this host, with the probe and the table that are
//! deployed to AWS)
//! rows ── runner ── report ── table | JSON | docs/FIDELITY.md
//! ```
//! Every id of the [`catalogue`] has exactly one row, and a row either runs or states why it cannot. A case observes
//! only the data of a client or of a handler, never the internal state of the gateway.

pub mod aws_local;
pub mod cases;
pub mod catalogue;
pub mod client;
pub mod probe;
pub mod recorder;
pub mod report;
pub mod row;
pub mod runner;
pub mod spec;
pub mod wire;
pub mod world;

pub use probes::event;
