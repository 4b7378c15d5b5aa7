//! Fault injection: steady traffic of reconnecting clients while pods are killed or hang, Redis is restarted, paused,
//! made read-only, emptied or failed over, slots of a Redis Cluster move, the network is partitioned, packets of
//! clients are dropped, and all pods are replaced; a recorder accounts for every message and every connection.
//!
//! ```text
//! clients ── haproxy ── three pods ── one TCP proxy each ── Redis (appendfsync always; Sentinels and Cluster: no proxy)
//!    └──────── recorder ◀── append-only file ────────────────┘
//! ```
//! Guarantees under test: every acknowledged message is stored, none is missing after clients have resumed, none is
//! delivered twice by the offset rule of `docs/PROTOCOL.md`, every connection has exactly one effective `$disconnect`,
//! presence is correct within 15 s, and a rolling restart interrupts clients for less than 2 s. The internal state of
//! the pods is not inspected.

mod analysis;
mod backend;
mod channel_positions;
mod disconnect_audit;
mod fault_report;
mod fixture;
mod injection;
mod latency;
mod recorder;
mod remote;
mod seeded_rng;
mod server_frame;
mod session;
mod stored_messages;
mod traffic_client;

use std::time::Duration;

pub use self::analysis::{InterruptionSummary, MessageCounts};
pub use self::disconnect_audit::DisconnectCounts;
pub use self::fault_report::FaultReport;
pub use self::fixture::run_fault;
pub use self::injection::InjectedFault;
pub use self::latency::RunLatencies;
pub use self::recorder::RunCounts;
pub use self::remote::{RemotePlan, RemoteReport, run_remote};
use crate::tcp_proxy::TcpProxy;

/// Size and duration of a run.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// Number of clients.
    pub connections: usize,
    /// Interval between two messages of a client.
    pub pace: Duration,
    /// Whether a fault runs all its steps and must meet its time limits, or runs the steps that suit a test on a
    /// shared host.
    pub full: bool,
}
