//! A client that keeps coming back, as `docs/PROTOCOL.md` tells clients to.
//!
//! ```text
//! handshake ──▶ session: resume, read, send ──▶ end ── 1012: within what it was told ──┐
//!     ▲  └─ refused: growing delay                └── else: growing delay ─────────────┤
//!     └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Invariant: it has at most one message that waits for its acknowledgement, and sends it again with the same id, also on
//! another connection, until it has one. It judges nothing; the ledger does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Error;

use super::dice::Dice;
use super::ledger::Ledger;
use super::places::Places;
use super::session::{Ending, Session};
use crate::client::Dial;

/// How long a handshake may take: more than a server that has lost its Redis takes to say so.
const HANDSHAKE: Duration = Duration::from_secs(8);
/// The first of the growing delays, and the longest.
const DELAYS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// What clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send and read.
    Talk,
    /// Have the last message acknowledged, and read.
    Hush,
    /// Catch up once more and leave.
    Leave,
}

/// Who a client is.
pub(super) struct Role {
    /// A number that no other has.
    pub(super) number: usize,
    /// How it connects.
    pub(super) dial: Dial,
    /// What it reads.
    pub(super) channels: Vec<String>,
    /// Where it sends, in turn.
    pub(super) targets: Vec<String>,
    /// How long between two messages.
    pub(super) pace: Duration,
    /// When it first connects.
    pub(super) begins: Instant,
}

/// A client.
pub(super) struct Participant {
    pub(super) role: Role,
    pub(super) places: Places,
    pub(super) ledger: Arc<Ledger>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) dice: Dice,
    /// The message that waits for its acknowledgement.
    pub(super) outstanding: Option<Outstanding>,
    pub(super) sent: usize,
    /// When the next message is due.
    pub(super) next_message: Instant,
    /// Since when, and by which code, it has been away.
    pub(super) away: Option<(Instant, u16)>,
}

/// A message that waits for its acknowledgement.
pub(super) struct Outstanding {
    pub(super) id: String,
    pub(super) target: String,
    /// When it was sent on this connection.
    pub(super) asked: Option<Instant>,
    /// When it may be sent (again).
    pub(super) due: Instant,
}

impl Participant {
    pub(super) fn new(role: Role, ledger: Arc<Ledger>, phase: watch::Receiver<Phase>) -> Self {
        let mut dice = Dice::of(role.number);
        let next_message = role.begins + dice.below(role.pace);
        let places = Places::of(&role.channels);
        Self { places, ledger, phase, dice, outstanding: None, sent: 0, next_message, away: None, role }
    }

    /// Lives until it may leave.
    pub(super) async fn run(mut self) {
        sleep_until(self.role.begins).await;
        let mut failures = 0;
        loop {
            let pause = match self.connect().await {
                Some(session) => match session.run().await {
                    Ending::Left => break,
                    Ending::SentAway { within } => {
                        failures = 0;
                        sleep(self.dice.below(within)).await;
                        self.ledger.reconnects();
                        continue;
                    }
                    Ending::Lost { served } => {
                        failures = if served { 1 } else { failures + 1 };
                        self.delay(failures)
                    }
                },
                None => {
                    failures += 1;
                    self.delay(failures)
                }
            };
            sleep(pause).await;
        }
        self.ledger.read(self.places.readings());
    }

    async fn connect(&mut self) -> Option<Session<'_>> {
        let status = match timeout(HANDSHAKE, self.role.dial.clone().attempt()).await {
            Ok(Ok((socket, _))) => return Some(Session::new(self, socket)),
            Ok(Err(Error::Http(response))) => response.status().as_u16(),
            Ok(Err(_)) | Err(_) => 0,
        };
        self.ledger.count(|counts| *counts.refused.entry(status).or_default() += 1);
        None
    }

    /// A random part of a delay that doubles with every failure, so that clients which were lost together do not come back
    /// together.
    fn delay(&mut self, failures: u32) -> Duration {
        let (first, longest) = DELAYS;
        self.dice.below(first.saturating_mul(1 << failures.min(8)).min(longest))
    }

    /// The next message.
    pub(super) fn compose(&mut self, now: Instant) {
        let target = self.role.targets[self.sent % self.role.targets.len()].clone();
        self.sent += 1;
        self.next_message = now + self.role.pace;
        let id = format!("p{}-{}", self.role.number, self.sent);
        self.ledger.count(|counts| counts.waiting += 1);
        self.outstanding = Some(Outstanding { id, target, asked: None, due: now });
    }
}
