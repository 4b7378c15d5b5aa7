//! What a run came to, which promises it broke, and how that is printed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Fault;
use super::ledger::{Counts, Ledger};
use super::records::Disconnects;
use super::verdict::{Interruptions, Messages};

/// How many connections a pod that drains sends away at a time, and how long between two waves: the defaults. Pods have too few
/// connections here for more.
pub(super) const WAVE: usize = 50;
/// See [`WAVE`].
pub(super) const WAVE_INTERVAL: Duration = Duration::from_millis(250);
/// Within what time the application knows who is connected.
const PRESENCE_MS: u64 = 15_000;
/// How long clients of a pod that drains are away at most, all but one in a hundred.
const INTERRUPTION_MS: u64 = 2_000;
/// How many waves' reconnects may fall into the time of one: clients come back within a random part of an interval, so those
/// of two waves may meet, and a busy machine may delay one.
const WAVES_AT_ONCE: usize = 3;
/// How many warnings with the same text one pod may log in a run, which lasts some minutes.
const EQUAL_LINES: usize = 100;

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// What went wrong.
    pub fault: Fault,
    /// How many clients there were.
    pub connections: usize,
    /// Whether how long things took is judged as well, which tells something only of a release build with a machine to itself.
    pub judges_times: bool,
    /// How long it took until all was well.
    pub lasted_ms: u64,
    /// How messages fared.
    pub messages: Messages,
    /// How connections ended.
    pub disconnects: Disconnects,
    /// How long the application took, after each blow, to know who is connected.
    pub presence_ms: Vec<u64>,
    /// How long clients were away, by the close code that ended their connections.
    pub interruptions: BTreeMap<u16, Interruptions>,
    /// The most reconnects that began within the interval of two waves.
    pub reconnect_peak: usize,
    /// How many connections a wave of a drain has.
    pub wave_size: usize,
    /// How long between two waves.
    pub wave_interval_ms: u64,
    /// What was counted beside.
    #[serde(flatten)]
    pub counts: Counts,
    /// How often a pod panicked.
    pub panics: usize,
    /// The most lines with the same text that one pod logged as warnings or errors, by text.
    pub logged: BTreeMap<String, usize>,
}

impl Outcome {
    /// What the ledger adds up to.
    pub(super) fn of(ledger: &Ledger, disconnects: Disconnects) -> Self {
        Self {
            fault: Fault::Kill,
            connections: 0,
            judges_times: true,
            lasted_ms: 0,
            messages: ledger.messages(),
            disconnects,
            presence_ms: Vec::new(),
            interruptions: ledger.interruptions(),
            reconnect_peak: ledger.reconnect_peak(WAVE_INTERVAL),
            wave_size: WAVE,
            wave_interval_ms: 0,
            counts: ledger.counts(),
            panics: 0,
            logged: BTreeMap::new(),
        }
    }

    /// The promises that were broken, in words; none when all is well.
    #[must_use]
    pub fn broken(&self) -> Vec<String> {
        let Self { messages, disconnects, panics, .. } = self;
        let mut broken = Vec::new();
        let mut promise = |kept: bool, sentence: String| {
            if !kept {
                broken.push(sentence);
            }
        };
        promise(messages.missing == 0, format!("{} acknowledged messages are missing", messages.missing));
        promise(
            messages.contradictions == 0,
            format!("{} contradictions: {:?}", messages.contradictions, messages.sentences),
        );
        let (once, untold) = (disconnects.once, disconnects.untold);
        promise(once + untold == disconnects.connections, format!("not one $disconnect each: {disconnects:?}"));
        // Those that sent something before their pod had noticed: how many they are is how long that took.
        let few = untold * 10 <= self.connections;
        promise(!self.judges_times || few, format!("of {untold} connections nothing is known"));
        promise(*panics == 0, format!("{panics} panics"));
        let slowest = self.presence_ms.iter().max().copied().unwrap_or_default();
        promise(!self.judges_times || slowest < PRESENCE_MS, format!("presence was wrong for {slowest} ms"));
        let floods = self.logged.iter().filter(|(_, lines)| **lines > EQUAL_LINES).collect::<Vec<_>>();
        promise(floods.is_empty(), format!("a pod's log was flooded: {floods:?}"));
        match self.fault {
            Fault::Rolling => self.rolling(&mut promise),
            Fault::Hang => {
                // Told by 1012, or by `gone` when they sent something before their wave came.
                let back: usize = self.interruptions.values().map(|away| away.count).sum();
                promise(back >= self.connections / 6, format!("only {back} clients left the pod and came back"));
            }
            Fault::Empty => promise(
                self.counts.lost >= self.connections as u64,
                format!("{} times a client was told that its past is gone", self.counts.lost),
            ),
            Fault::ReadOnly => promise(
                self.counts.degraded >= self.connections as u64,
                format!("{} clients were told of it", self.counts.degraded),
            ),
            Fault::Kill | Fault::Redis | Fault::Network | Fault::Kicked => {}
        }
        broken
    }

    fn rolling(&self, promise: &mut impl FnMut(bool, String)) {
        let sent_away = self.interruptions.get(&1012);
        let count = sent_away.map_or(0, |away| away.count);
        promise(count >= self.connections, format!("not all were sent away: {sent_away:?}"));
        promise(
            !self.judges_times || sent_away.is_some_and(|away| away.p99_ms < INTERRUPTION_MS),
            format!("clients were away for long: {sent_away:?}"),
        );
        promise(
            self.reconnect_peak <= WAVES_AT_ONCE * self.wave_size,
            format!("{} clients came back within {} ms", self.reconnect_peak, self.wave_interval_ms),
        );
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, disconnects, counts, .. } = self;
        writeln!(
            f,
            "{:?}: {} connections, {:.1} s until all was well",
            self.fault,
            self.connections,
            self.lasted_ms as f64 / 1e3
        )?;
        writeln!(
            f,
            "  messages       {} acknowledged, {} shown, {} missing, {} shown twice or contradicted",
            messages.acknowledged, messages.shown, messages.missing, messages.contradictions
        )?;
        writeln!(
            f,
            "  $disconnect    {} connections, {} exactly once, {} never, {} again, {} untold",
            disconnects.connections, disconnects.once, disconnects.never, disconnects.again, disconnects.untold
        )?;
        writeln!(f, "  presence right {:?} ms after each blow", self.presence_ms)?;
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
            self.reconnect_peak, self.wave_interval_ms, self.wave_size
        )?;
        writeln!(
            f,
            "  clients saw    {} unavailable, {} degraded, {} jumps, {} gaps ({} losses), {} repeats dropped, {} sends repeated",
            counts.unavailable,
            counts.degraded,
            counts.jumps,
            counts.gaps,
            counts.lost,
            counts.dropped,
            counts.repeated
        )?;
        writeln!(f, "  ends by code   {:?}; handshakes refused by status {:?}", counts.ended, counts.refused)?;
        writeln!(
            f,
            "  log lines      {} warnings of a pod at most, {:?}",
            self.logged.values().sum::<usize>(),
            self.logged
        )?;
        match self.broken().as_slice() {
            [] => writeln!(f, "  every promise was kept"),
            broken => broken.iter().try_for_each(|sentence| writeln!(f, "  BROKEN: {sentence}")),
        }
    }
}
