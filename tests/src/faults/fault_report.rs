//! Report of a fault-injection run: measurements, violated guarantees, and their text form.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::InjectedFault;
use super::analysis::{InterruptionSummary, MessageCounts};
use super::disconnect_audit::DisconnectCounts;
use super::recorder::{RunCounts, RunRecorder};

/// Batch size of a drain (the default). Pods have too few connections here for a larger one.
pub(super) const DRAIN_BATCH_SIZE: usize = 50;
/// Interval between two batches of a drain (the default).
pub(super) const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Limit of the time until presence is correct, in milliseconds.
const MAX_PRESENCE_MS: u64 = 15_000;
/// The same limit for half-open clients, which the pods detect by their pings.
const MAX_HALF_OPEN_MS: u64 = 60_000;
/// Limit of the 99th percentile of interruptions by a drain, in milliseconds.
const MAX_INTERRUPTION_P99_MS: u64 = 2_000;
/// Number of batches whose reconnects may overlap: clients reconnect within a random part of an interval, so two
/// batches may overlap, and a busy host may delay a third.
const MAX_OVERLAPPING_BATCHES: usize = 3;
/// Limit of warnings with the same text that one pod may log in a run of a few minutes.
const MAX_REPEATED_WARNINGS: usize = 100;

/// Results of one run.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// The injected fault.
    pub fault: InjectedFault,
    /// Number of clients.
    pub connections: usize,
    /// Whether time limits are checked, which is meaningful only for a release build on an otherwise idle host.
    pub checks_timings: bool,
    /// Time until recovery, in milliseconds.
    pub recovery_ms: u64,
    /// Acknowledged messages that Redis does not have at the end; 0 when the fault discards its data.
    pub lost: usize,
    /// Message counts.
    pub messages: MessageCounts,
    /// `$disconnect` counts.
    pub disconnects: DisconnectCounts,
    /// Time until presence was correct after each fault, in milliseconds.
    pub presence_recovery_ms: Vec<u64>,
    /// Interruption times by the close code that ended the connections.
    pub interruptions: BTreeMap<u16, InterruptionSummary>,
    /// Highest number of reconnects that started within one drain interval.
    pub reconnect_peak: usize,
    /// Batch size of a drain.
    pub drain_batch_size: usize,
    /// Interval between two batches of a drain, in milliseconds.
    pub drain_interval_ms: u64,
    /// Further counts.
    #[serde(flatten)]
    pub counts: RunCounts,
    /// Number of panics of all pods.
    pub panics: usize,
    /// Highest number of warnings or errors with the same text that one pod logged, by text.
    pub repeated_warnings: BTreeMap<String, usize>,
}

impl FaultReport {
    /// Builds the report of a recorded run.
    pub(super) fn from_recorder(recorder: &RunRecorder, disconnects: DisconnectCounts) -> Self {
        Self {
            fault: InjectedFault::Kill,
            connections: 0,
            checks_timings: true,
            recovery_ms: 0,
            lost: 0,
            messages: recorder.message_counts(),
            disconnects,
            presence_recovery_ms: Vec::new(),
            interruptions: recorder.interruptions(),
            reconnect_peak: recorder.peak_reconnects(DRAIN_INTERVAL),
            drain_batch_size: DRAIN_BATCH_SIZE,
            drain_interval_ms: 0,
            counts: recorder.counts(),
            panics: 0,
            repeated_warnings: BTreeMap::new(),
        }
    }

    /// Returns the violated guarantees as sentences, none if all held.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let Self { messages, disconnects, panics, .. } = self;
        let mut violations = Vec::new();
        let mut check = |held: bool, sentence: String| {
            if !held {
                violations.push(sentence);
            }
        };
        check(self.lost == 0, format!("{} acknowledged messages are not stored", self.lost));
        check(messages.missing == 0, format!("{} acknowledged messages are missing", messages.missing));
        check(
            messages.violations == 0,
            format!("{} violations: {:?}", messages.violations, messages.violation_samples),
        );
        let (once, unknown) = (disconnects.exactly_once, disconnects.unknown);
        check(once == disconnects.connections, format!("not one $disconnect each: {disconnects:?}"));
        check(unknown == 0, format!("{unknown} connections have an unknown end"));
        check(*panics == 0, format!("{panics} panics"));
        let slowest = self.presence_recovery_ms.iter().max().copied().unwrap_or_default();
        let limit = if self.fault == InjectedFault::HalfOpen { MAX_HALF_OPEN_MS } else { MAX_PRESENCE_MS };
        check(!self.checks_timings || slowest < limit, format!("presence was wrong for {slowest} ms"));
        let floods =
            self.repeated_warnings.iter().filter(|(_, lines)| **lines > MAX_REPEATED_WARNINGS).collect::<Vec<_>>();
        check(floods.is_empty(), format!("a pod's log was flooded: {floods:?}"));
        match self.fault {
            InjectedFault::Rolling => self.check_rolling_restart(&mut check),
            InjectedFault::Hang => {
                // Closed with 1012, or with `gone` when they sent a frame before their batch was drained.
                let reconnected: usize = self.interruptions.values().map(|summary| summary.count).sum();
                check(
                    reconnected >= self.connections / 6,
                    format!("only {reconnected} clients reconnected to another pod"),
                );
            }
            InjectedFault::DataLoss | InjectedFault::DataLossCrash => {
                check(
                    self.counts.epoch_losses >= self.connections as u64,
                    format!("{} epoch losses reported to clients", self.counts.epoch_losses),
                );
                check(self.counts.gone == 0, format!("{} commands answered `gone`", self.counts.gone));
            }
            InjectedFault::ReadOnly => check(
                self.counts.degraded >= self.connections as u64,
                format!("{} degraded frames received", self.counts.degraded),
            ),
            InjectedFault::SentinelFailover | InjectedFault::ClusterFailover | InjectedFault::SlotMigration => {
                let drained = self.interruptions.get(&1012);
                check(drained.is_none(), format!("pods closed connections although Redis was there: {drained:?}"));
            }
            InjectedFault::Kill
            | InjectedFault::Redis
            | InjectedFault::Network
            | InjectedFault::SubscriptionLoss
            | InjectedFault::HalfOpen => {}
        }
        violations
    }

    fn check_rolling_restart(&self, check: &mut impl FnMut(bool, String)) {
        let drained = self.interruptions.get(&1012);
        let count = drained.map_or(0, |summary| summary.count);
        check(count >= self.connections, format!("not all clients were drained: {drained:?}"));
        check(
            !self.checks_timings || drained.is_some_and(|summary| summary.p99_ms < MAX_INTERRUPTION_P99_MS),
            format!("interruptions too long: {drained:?}"),
        );
        check(
            self.reconnect_peak <= MAX_OVERLAPPING_BATCHES * self.drain_batch_size,
            format!("{} clients reconnected within {} ms", self.reconnect_peak, self.drain_interval_ms),
        );
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, disconnects, counts, .. } = self;
        writeln!(
            f,
            "{:?}: {} connections, recovered in {:.1} s",
            self.fault,
            self.connections,
            self.recovery_ms as f64 / 1e3
        )?;
        writeln!(
            f,
            "  messages       {} acknowledged, {} lost, {} delivered, {} missing, {} violations",
            messages.acknowledged, self.lost, messages.delivered, messages.missing, messages.violations
        )?;
        writeln!(
            f,
            "  $disconnect    {} connections, {} exactly once, {} never, {} repeated, {} unknown",
            disconnects.connections,
            disconnects.exactly_once,
            disconnects.never,
            disconnects.repeated,
            disconnects.unknown
        )?;
        writeln!(f, "  presence       correct {:?} ms after each fault", self.presence_recovery_ms)?;
        for (code, summary) in &self.interruptions {
            writeln!(
                f,
                "  interrupted ({code:>4}) {} times, p50 {} ms, p99 {} ms, longest {} ms",
                summary.count, summary.p50_ms, summary.p99_ms, summary.max_ms
            )?;
        }
        writeln!(
            f,
            "  reconnects     at most {} started within {} ms (batches of {})",
            self.reconnect_peak, self.drain_interval_ms, self.drain_batch_size
        )?;
        writeln!(
            f,
            "  clients saw    {} unavailable, {} degraded, {} out of order, {} gaps ({} epoch losses), {} duplicates dropped, {} sends repeated",
            counts.unavailable,
            counts.degraded,
            counts.out_of_order,
            counts.gaps,
            counts.epoch_losses,
            counts.dropped,
            counts.repeated
        )?;
        writeln!(
            f,
            "  closes by code {:?}; handshakes rejected by status {:?}",
            counts.closes_by_code, counts.rejected_handshakes
        )?;
        writeln!(
            f,
            "  log            at most {} warnings per pod, {:?}",
            self.repeated_warnings.values().sum::<usize>(),
            self.repeated_warnings
        )?;
        match self.violations().as_slice() {
            [] => writeln!(f, "  all guarantees held"),
            violations => violations.iter().try_for_each(|sentence| writeln!(f, "  VIOLATED: {sentence}")),
        }
    }
}
