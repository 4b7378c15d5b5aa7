//! Latencies of a run, as clients measure them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::load::report::{Latencies, LatencySummary};

/// Latency histograms, and the times at which messages were sent.
#[derive(Default)]
pub(super) struct LatencyRecord {
    sent: HashMap<String, Instant>,
    connect: Latencies,
    delivery: Latencies,
}

impl fmt::Debug for LatencyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LatencyRecord({} messages sent)", self.sent.len())
    }
}

impl LatencyRecord {
    /// Records a handshake that took this long.
    pub(super) fn record_connect(&mut self, took: Duration) {
        self.connect.record(took);
    }

    /// Records that a message is sent now; later attempts of the same message do not count.
    pub(super) fn record_send(&mut self, id: &str) {
        if !self.sent.contains_key(id) {
            self.sent.insert(id.to_owned(), Instant::now());
        }
    }

    /// Records that a client received a message now. Messages that no client of the run sent do not count.
    pub(super) fn record_delivery(&mut self, id: &str) {
        if let Some(sent) = self.sent.get(id) {
            self.delivery.record(sent.elapsed());
        }
    }

    /// Returns the quantiles of all latencies since the start.
    pub(super) fn summary(&self) -> RunLatencies {
        RunLatencies { connect: self.connect.summary(), delivery: self.delivery.summary() }
    }
}

/// Quantiles of a run's latencies, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct RunLatencies {
    /// From the TCP connection to the response of the handshake.
    pub connect: LatencySummary,
    /// From the first attempt to send a message to its receipt by another client, interruptions included.
    pub delivery: LatencySummary,
}
