//! Faults: steady traffic of clients that come back, while pods are killed or hang, Redis is restarted, paused, made read-only
//! or loses its data, the network is cut, and everything is replaced; and a ledger of what became of every message and every
//! connection.
//!
//! ```text
//! clients ── haproxy ── three pods ── a cable each ── Redis (every change on disk)
//!    └────────── ledger ◀── the file of changes ─────────┘
//! ```
//! Promises under test: no acknowledged message is missing once clients have resumed, none is shown twice by the offset rule
//! of `docs/PROTOCOL.md`, every connection has exactly one effective `$disconnect`, presence is right within 15 s, and a
//! rolling restart interrupts clients for less than 2 s. What the pods do inside is not looked at.

mod analysis;
mod backend;
mod channel_positions;
mod disconnect_audit;
mod fault_report;
mod fixture;
mod injection;
mod recorder;
mod seeded_rng;
mod session;
mod traffic_client;
mod wire;

use std::time::Duration;

pub use self::analysis::{InterruptionSummary, MessageCounts};
pub use self::disconnect_audit::DisconnectCounts;
pub use self::fault_report::FaultReport;
pub use self::fixture::run_fault;
pub use self::injection::InjectedFault;
pub use self::recorder::RunCounts;
use crate::tcp_proxy::TcpProxy;

/// How large a run is.
#[derive(Debug, Clone)]
pub struct FaultPlan {
    /// How many clients there are.
    pub connections: usize,
    /// How long each waits between two messages.
    pub pace: Duration,
    /// Whether a fault takes all of its turns and has to keep its times, or takes those that fit a test on a machine that has
    /// other work as well.
    pub full: bool,
}
