//! A client that reconnects by the rules of `docs/PROTOCOL.md`.
//!
//! ```text
//! handshake ──▶ session: resume, receive, send ──▶ close ─ 1012: within the given time ┐
//!     ▲  └─ rejected: growing delay                   └── else: growing delay ─────────┤
//!     └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! It has at most one message without an acknowledgement and sends it again with the same id, also on another
//! connection, until it is acknowledged. It evaluates nothing; the recorder does.

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

/// Timeout of a handshake: longer than a server without Redis takes to reject it.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
/// First and maximum delay of the exponential backoff.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));

/// Phase of a run, which all clients follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrafficPhase {
    /// Send and receive.
    Sending,
    /// Wait for the last acknowledgement, and receive.
    Quiescing,
    /// Resume once more and disconnect.
    Closing,
}

/// Identity and channels of a client.
pub(super) struct ClientRole {
    /// Unique number of the client.
    pub(super) number: usize,
    /// Handshake of the client.
    pub(super) dial: ClientHandshake,
    /// Channels that it reads.
    pub(super) channels: Vec<String>,
    /// Targets of its messages, used in turn.
    pub(super) targets: Vec<String>,
    /// Interval between two messages.
    pub(super) pace: Duration,
    /// Time of the first handshake.
    pub(super) starts_at: Instant,
}

/// A client of a fault-injection run.
pub(super) struct TrafficClient {
    pub(super) role: ClientRole,
    pub(super) channels: ChannelPositions,
    pub(super) recorder: Arc<RunRecorder>,
    pub(super) phase: watch::Receiver<TrafficPhase>,
    pub(super) rng: SeededRng,
    /// Message that waits for its acknowledgement.
    pub(super) outstanding: Option<PendingMessage>,
    pub(super) sent: usize,
    /// Time of the next message.
    pub(super) next_message: Instant,
    /// Time and close code of the last disconnect, until the client has resumed.
    pub(super) disconnected_since: Option<(Instant, u16)>,
}

/// Message that waits for its acknowledgement.
pub(super) struct PendingMessage {
    pub(super) id: String,
    pub(super) target: String,
    /// Time at which it was sent on this connection.
    pub(super) sent_at: Option<Instant>,
    /// Earliest time to send it (again).
    pub(super) due: Instant,
}

impl TrafficClient {
    pub(super) fn new(role: ClientRole, recorder: Arc<RunRecorder>, phase: watch::Receiver<TrafficPhase>) -> Self {
        let mut rng = SeededRng::for_client(role.number);
        let next_message = role.starts_at + rng.duration_below(role.pace);
        let channels = ChannelPositions::for_channels(&role.channels);
        Self {
            channels,
            recorder,
            phase,
            rng,
            outstanding: None,
            sent: 0,
            next_message,
            disconnected_since: None,
            role,
        }
    }

    /// Runs until the closing phase is complete.
    pub(super) async fn run(mut self) {
        sleep_until(self.role.starts_at).await;
        let mut failures = 0;
        loop {
            let delay = match self.connect().await {
                Some(session) => match session.run().await {
                    SessionEnd::Left => break,
                    SessionEnd::Drained { within } => {
                        failures = 0;
                        sleep(self.rng.duration_below(within)).await;
                        self.recorder.record_reconnect();
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
            sleep(delay).await;
        }
        self.recorder.record_read_ranges(self.channels.read_ranges());
    }

    async fn connect(&mut self) -> Option<ClientSession<'_>> {
        let started = Instant::now();
        let status = match timeout(HANDSHAKE_TIMEOUT, self.role.dial.clone().attempt()).await {
            Ok(Ok((socket, _))) => {
                self.recorder.record_connect(started.elapsed());
                return Some(ClientSession::new(self, socket));
            }
            Ok(Err(Error::Http(response))) => response.status().as_u16(),
            Ok(Err(_)) | Err(_) => 0,
        };
        self.recorder.update_counts(|counts| *counts.rejected_handshakes.entry(status).or_default() += 1);
        None
    }

    /// Returns a random part of a delay that doubles with every failure, so that clients which were disconnected
    /// together do not reconnect together.
    fn reconnect_delay(&mut self, failures: u32) -> Duration {
        let (first, longest) = RECONNECT_BACKOFF;
        self.rng.duration_below(first.saturating_mul(1 << failures.min(8)).min(longest))
    }

    /// Prepares the next message.
    pub(super) fn prepare_message(&mut self, now: Instant) {
        let target = self.role.targets[self.sent % self.role.targets.len()].clone();
        self.sent += 1;
        self.next_message = now + self.role.pace;
        let id = format!("p{}-{}", self.role.number, self.sent);
        self.recorder.update_counts(|counts| counts.waiting += 1);
        self.outstanding = Some(PendingMessage { id, target, sent_at: None, due: now });
    }
}
