//! What a run came to, which promises it broke, and how that is printed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::InjectedFault;
use super::analysis::{InterruptionSummary, MessageCounts};
use super::disconnect_audit::DisconnectCounts;
use super::recorder::{RunCounts, RunRecorder};

/// How many connections a pod that drains sends away at a time, and how long between two waves: the defaults. Pods have too few
/// connections here for more.
pub(super) const DRAIN_BATCH_SIZE: usize = 50;
/// See [`DRAIN_BATCH_SIZE`].
pub(super) const DRAIN_INTERVAL: Duration = Duration::from_millis(250);
/// Within what time the application knows who is connected.
const MAX_PRESENCE_MS: u64 = 15_000;
/// How long clients of a pod that drains are away at most, all but one in a hundred.
const MAX_INTERRUPTION_P99_MS: u64 = 2_000;
/// How many waves' reconnects may fall into the time of one: clients come back within a random part of an interval, so those
/// of two waves may meet, and a busy machine may delay one.
const MAX_OVERLAPPING_BATCHES: usize = 3;
/// How many warnings with the same text one pod may log in a run, which lasts some minutes.
const MAX_REPEATED_WARNINGS: usize = 100;

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct FaultReport {
    /// What went wrong.
    pub fault: InjectedFault,
    /// How many clients there were.
    pub connections: usize,
    /// Whether how long things took is judged as well, which tells something only of a release build with a machine to itself.
    pub checks_timings: bool,
    /// How long it took until all was well.
    pub recovery_ms: u64,
    /// How messages fared.
    pub messages: MessageCounts,
    /// How connections ended.
    pub disconnects: DisconnectCounts,
    /// How long the application took, after each blow, to know who is connected.
    pub presence_recovery_ms: Vec<u64>,
    /// How long clients were away, by the close code that ended their connections.
    pub interruptions: BTreeMap<u16, InterruptionSummary>,
    /// The most reconnects that began within the interval of two waves.
    pub reconnect_peak: usize,
    /// How many connections a wave of a drain has.
    pub drain_batch_size: usize,
    /// How long between two waves.
    pub drain_interval_ms: u64,
    /// What was counted beside.
    #[serde(flatten)]
    pub counts: RunCounts,
    /// How often a pod panicked.
    pub panics: usize,
    /// The most lines with the same text that one pod logged as warnings or errors, by text.
    pub repeated_warnings: BTreeMap<String, usize>,
}

impl FaultReport {
    /// What the ledger adds up to.
    pub(super) fn from_recorder(ledger: &RunRecorder, disconnects: DisconnectCounts) -> Self {
        Self {
            fault: InjectedFault::Kill,
            connections: 0,
            checks_timings: true,
            recovery_ms: 0,
            messages: ledger.message_counts(),
            disconnects,
            presence_recovery_ms: Vec::new(),
            interruptions: ledger.interruptions(),
            reconnect_peak: ledger.peak_reconnects(DRAIN_INTERVAL),
            drain_batch_size: DRAIN_BATCH_SIZE,
            drain_interval_ms: 0,
            counts: ledger.counts(),
            panics: 0,
            repeated_warnings: BTreeMap::new(),
        }
    }

    /// The promises that were broken, in words; none when all is well.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let Self { messages, disconnects, panics, .. } = self;
        let mut broken = Vec::new();
        let mut promise = |kept: bool, sentence: String| {
            if !kept {
                broken.push(sentence);
            }
        };
        promise(messages.missing == 0, format!("{} acknowledged messages are missing", messages.missing));
        promise(
            messages.violations == 0,
            format!("{} contradictions: {:?}", messages.violations, messages.violation_samples),
        );
        let (once, untold) = (disconnects.exactly_once, disconnects.unknown);
        promise(once + untold == disconnects.connections, format!("not one $disconnect each: {disconnects:?}"));
        // Those that sent something before their pod had noticed: how many they are is how long that took.
        let few = untold * 10 <= self.connections;
        promise(!self.checks_timings || few, format!("of {untold} connections nothing is known"));
        promise(*panics == 0, format!("{panics} panics"));
        let slowest = self.presence_recovery_ms.iter().max().copied().unwrap_or_default();
        promise(!self.checks_timings || slowest < MAX_PRESENCE_MS, format!("presence was wrong for {slowest} ms"));
        let floods =
            self.repeated_warnings.iter().filter(|(_, lines)| **lines > MAX_REPEATED_WARNINGS).collect::<Vec<_>>();
        promise(floods.is_empty(), format!("a pod's log was flooded: {floods:?}"));
        match self.fault {
            InjectedFault::Rolling => self.check_rolling_restart(&mut promise),
            InjectedFault::Hang => {
                // Told by 1012, or by `gone` when they sent something before their wave came.
                let back: usize = self.interruptions.values().map(|away| away.count).sum();
                promise(back >= self.connections / 6, format!("only {back} clients left the pod and came back"));
            }
            InjectedFault::DataLoss => promise(
                self.counts.epoch_losses >= self.connections as u64,
                format!("{} times a client was told that its past is gone", self.counts.epoch_losses),
            ),
            InjectedFault::ReadOnly => promise(
                self.counts.degraded >= self.connections as u64,
                format!("{} clients were told of it", self.counts.degraded),
            ),
            InjectedFault::Kill | InjectedFault::Redis | InjectedFault::Network | InjectedFault::SubscriptionLoss => {}
        }
        broken
    }

    fn check_rolling_restart(&self, promise: &mut impl FnMut(bool, String)) {
        let sent_away = self.interruptions.get(&1012);
        let count = sent_away.map_or(0, |away| away.count);
        promise(count >= self.connections, format!("not all were sent away: {sent_away:?}"));
        promise(
            !self.checks_timings || sent_away.is_some_and(|away| away.p99_ms < MAX_INTERRUPTION_P99_MS),
            format!("clients were away for long: {sent_away:?}"),
        );
        promise(
            self.reconnect_peak <= MAX_OVERLAPPING_BATCHES * self.drain_batch_size,
            format!("{} clients came back within {} ms", self.reconnect_peak, self.drain_interval_ms),
        );
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, disconnects, counts, .. } = self;
        writeln!(
            f,
            "{:?}: {} connections, {:.1} s until all was well",
            self.fault,
            self.connections,
            self.recovery_ms as f64 / 1e3
        )?;
        writeln!(
            f,
            "  messages       {} acknowledged, {} shown, {} missing, {} shown twice or contradicted",
            messages.acknowledged, messages.delivered, messages.missing, messages.violations
        )?;
        writeln!(
            f,
            "  $disconnect    {} connections, {} exactly once, {} never, {} again, {} untold",
            disconnects.connections,
            disconnects.exactly_once,
            disconnects.never,
            disconnects.repeated,
            disconnects.unknown
        )?;
        writeln!(f, "  presence right {:?} ms after each blow", self.presence_recovery_ms)?;
        for (code, away) in &self.interruptions {
            writeln!(
                f,
                "  away ({code:>4})    {} times, p50 {} ms, p99 {} ms, longest {} ms",
                away.count, away.p50_ms, away.p99_ms, away.max_ms
            )?;
        }
        writeln!(
            f,
            "  reconnects     at most {} began within {} ms (waves of {})",
            self.reconnect_peak, self.drain_interval_ms, self.drain_batch_size
        )?;
        writeln!(
            f,
            "  clients saw    {} unavailable, {} degraded, {} jumps, {} gaps ({} losses), {} repeats dropped, {} sends repeated",
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
            "  ends by code   {:?}; handshakes refused by status {:?}",
            counts.closes_by_code, counts.rejected_handshakes
        )?;
        writeln!(
            f,
            "  log lines      {} warnings of a pod at most, {:?}",
            self.repeated_warnings.values().sum::<usize>(),
            self.repeated_warnings
        )?;
        match self.violations().as_slice() {
            [] => writeln!(f, "  every promise was kept"),
            broken => broken.iter().try_for_each(|sentence| writeln!(f, "  BROKEN: {sentence}")),
        }
    }
}
