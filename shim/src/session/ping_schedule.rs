//! Pings from the server and the detection of half-open connections: a client that answers no ping is gone.
//!
//! ```text
//! ── interval ── ping ── timeout ── nothing received? ─ yes: connection lost
//!        ▲                             └─ no ─┐
//!        └────────────────────────────────────┘
//! ```
//! Any byte counts as an answer, so a client in the middle of a long frame is alive. The session's timer drives the
//! schedule; traffic only sets a flag.

use std::time::Duration;

use tokio::time::Instant;

/// Delay of a deadline that shows that the process itself did not run: it was suspended or has too little CPU. The
/// answer may wait in the socket then, so the client gets the whole timeout again.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Next step of a [`PingSchedule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PingStep {
    /// Nothing is due.
    Wait,
    /// A ping has to be sent.
    Send,
    /// The client has not answered in time.
    Lost,
}

/// Pings of one connection.
#[derive(Debug)]
pub(super) struct PingSchedule {
    interval: Duration,
    timeout: Duration,
    next_ping_at: Instant,
    /// Deadline of the answer to the last ping, until something is received.
    answer_due_at: Option<Instant>,
}

impl PingSchedule {
    /// Creates a schedule whose first ping is due after `interval`.
    pub(super) fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self { interval, timeout, next_ping_at: now + interval, answer_due_at: None }
    }

    /// Records that the client is alive. A client that is not read, because too many of its messages wait for their
    /// handler, cannot prove it and counts as alive.
    pub(super) const fn record_answer(&mut self) {
        self.answer_due_at = None;
    }

    /// Returns the time of the next step.
    pub(super) fn next_step_at(&self) -> Instant {
        self.answer_due_at.unwrap_or(self.next_ping_at)
    }

    /// Returns the step that is due at `now`. `blocked` means that the last write would have blocked.
    pub(super) fn next_step(&mut self, now: Instant, blocked: bool) -> PingStep {
        if now < self.next_step_at() {
            return PingStep::Wait;
        }
        if let Some(due_at) = self.answer_due_at {
            if now - due_at <= MAX_DELAY {
                return PingStep::Lost;
            }
            self.answer_due_at = Some(now + self.timeout);
            return PingStep::Wait;
        }
        self.next_ping_at = now + self.interval;
        if blocked {
            // A ping would wait behind the unsent data; the stalled-write timeout applies.
            return PingStep::Wait;
        }
        self.answer_due_at = Some(now + self.timeout);
        PingStep::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(20);

    /// Returns a schedule that has just sent a ping, and the time.
    fn after_first_ping() -> (PingSchedule, Instant) {
        let opened_at = Instant::now();
        let mut pings = PingSchedule::new(INTERVAL, TIMEOUT, opened_at);
        assert_eq!(pings.next_step(opened_at, false), PingStep::Wait);
        let pinged_at = opened_at + INTERVAL;
        assert_eq!(pings.next_step_at(), pinged_at);
        assert_eq!(pings.next_step(pinged_at, false), PingStep::Send);
        (pings, pinged_at)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_is_pinged_at_every_interval() {
        let (mut pings, mut pinged_at) = after_first_ping();
        for _ in 0..3 {
            pings.record_answer();
            assert_eq!(pings.next_step_at(), pinged_at + INTERVAL);
            pinged_at += INTERVAL;
            assert_eq!(pings.next_step(pinged_at, false), PingStep::Send);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_lost_after_the_timeout() {
        let (mut pings, pinged_at) = after_first_ping();
        assert_eq!(pings.next_step_at(), pinged_at + TIMEOUT);
        assert_eq!(pings.next_step(pinged_at + TIMEOUT, false), PingStep::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_suspended_waits_for_the_answer_again() {
        let (mut pings, pinged_at) = after_first_ping();
        let resumed_at = pinged_at + TIMEOUT * 10;
        assert_eq!(pings.next_step(resumed_at, false), PingStep::Wait);
        assert_eq!(pings.next_step(resumed_at + TIMEOUT, false), PingStep::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn no_ping_is_sent_behind_unsent_data() {
        let opened_at = Instant::now();
        let mut pings = PingSchedule::new(INTERVAL, TIMEOUT, opened_at);
        assert_eq!(pings.next_step(opened_at + INTERVAL, true), PingStep::Wait);
        assert_eq!(pings.next_step_at(), opened_at + INTERVAL * 2);
    }
}
