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

use super::channel_positions::ChannelPositions;
use super::recorder::RunRecorder;
use super::seeded_rng::SeededRng;
use super::session::{ClientSession, SessionEnd};
use crate::client::ClientHandshake;

/// How long a handshake may take: more than a server that has lost its Redis takes to say so.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
/// The first of the growing delays, and the longest.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// What clients are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrafficPhase {
    /// Send and read.
    Sending,
    /// Have the last message acknowledged, and read.
    Quiescing,
    /// Catch up once more and leave.
    Closing,
}

/// Who a client is.
pub(super) struct ClientRole {
    /// A number that no other has.
    pub(super) number: usize,
    /// How it connects.
    pub(super) dial: ClientHandshake,
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
pub(super) struct TrafficClient {
    pub(super) role: ClientRole,
    pub(super) places: ChannelPositions,
    pub(super) ledger: Arc<RunRecorder>,
    pub(super) phase: watch::Receiver<TrafficPhase>,
    pub(super) dice: SeededRng,
    /// The message that waits for its acknowledgement.
    pub(super) outstanding: Option<PendingMessage>,
    pub(super) sent: usize,
    /// When the next message is due.
    pub(super) next_message: Instant,
    /// Since when, and by which code, it has been away.
    pub(super) disconnected_since: Option<(Instant, u16)>,
}

/// A message that waits for its acknowledgement.
pub(super) struct PendingMessage {
    pub(super) id: String,
    pub(super) target: String,
    /// When it was sent on this connection.
    pub(super) sent_at: Option<Instant>,
    /// When it may be sent (again).
    pub(super) due: Instant,
}

impl TrafficClient {
    pub(super) fn new(role: ClientRole, ledger: Arc<RunRecorder>, phase: watch::Receiver<TrafficPhase>) -> Self {
        let mut dice = SeededRng::for_client(role.number);
        let next_message = role.begins + dice.duration_below(role.pace);
        let places = ChannelPositions::for_channels(&role.channels);
        Self { places, ledger, phase, dice, outstanding: None, sent: 0, next_message, disconnected_since: None, role }
    }

    /// Lives until it may leave.
    pub(super) async fn run(mut self) {
        sleep_until(self.role.begins).await;
        let mut failures = 0;
        loop {
            let pause = match self.connect().await {
                Some(session) => match session.run().await {
                    SessionEnd::Left => break,
                    SessionEnd::Drained { within } => {
                        failures = 0;
                        sleep(self.dice.duration_below(within)).await;
                        self.ledger.record_reconnect();
                        continue;
                    }
                    SessionEnd::Lost { served } => {
                        failures = if served { 1 } else { failures + 1 };
                        self.reconnect_delay(failures)
                    }
                },
                None => {
                    failures += 1;
                    self.reconnect_delay(failures)
                }
            };
            sleep(pause).await;
        }
        self.ledger.record_read_ranges(self.places.read_ranges());
    }

    async fn connect(&mut self) -> Option<ClientSession<'_>> {
        let status = match timeout(HANDSHAKE_TIMEOUT, self.role.dial.clone().attempt()).await {
            Ok(Ok((socket, _))) => return Some(ClientSession::new(self, socket)),
            Ok(Err(Error::Http(response))) => response.status().as_u16(),
            Ok(Err(_)) | Err(_) => 0,
        };
        self.ledger.update_counts(|counts| *counts.rejected_handshakes.entry(status).or_default() += 1);
        None
    }

    /// A random part of a delay that doubles with every failure, so that clients which were lost together do not come back
    /// together.
    fn reconnect_delay(&mut self, failures: u32) -> Duration {
        let (first, longest) = RECONNECT_BACKOFF;
        self.dice.duration_below(first.saturating_mul(1 << failures.min(8)).min(longest))
    }

    /// The next message.
    pub(super) fn prepare_message(&mut self, now: Instant) {
        let target = self.role.targets[self.sent % self.role.targets.len()].clone();
        self.sent += 1;
        self.next_message = now + self.role.pace;
        let id = format!("p{}-{}", self.role.number, self.sent);
        self.ledger.update_counts(|counts| counts.waiting += 1);
        self.outstanding = Some(PendingMessage { id, target, sent_at: None, due: now });
    }
}
