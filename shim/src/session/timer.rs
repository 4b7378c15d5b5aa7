//! Timer of a session: idle timeout, maximum lifetime, expiry of the token, stalled write, pings.
//!
//! Activity only updates a timestamp in the [`Connection`]. When the timer fires, it reads the timestamp and resets
//! itself, so that traffic never modifies the runtime's timer wheel. The expiry of a token is a time of the wall clock:
//! it is compared again whenever the timer fires, so a clock that is set closes no connection early.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use gateway::close::CloseCause;
use gateway::quotas::Quotas;
use handlers::ports::Clock;
use tokio::time::{Instant, Sleep};

use super::ping_schedule::{PingSchedule, PingStep};
use crate::config::SessionConfig;
use crate::connection::Connection;

/// Longest wait before the expiry of a token is compared with the clock again.
const MAX_EXPIRY_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Deadlines after which a session closes its connection.
pub struct SessionTimer {
    sleep: Pin<Box<Sleep>>,
    started_at: Instant,
    lifetime_ends_at: Option<Instant>,
    /// Expiry of the client's token, leeway included, in seconds since 1970.
    token_expires_at: Option<i64>,
    idle_timeout: Duration,
    blocked_since: Option<Instant>,
    stalled_write_timeout: Duration,
    pings: Option<PingSchedule>,
    /// Whether a ping has to be sent.
    ping_due: bool,
}

impl SessionTimer {
    /// Creates a timer that starts now. `token_expires_at` is in seconds since 1970, by `clock`.
    pub fn new(
        quotas: &Quotas,
        stalled_write_timeout: Duration,
        token_expires_at: Option<i64>,
        clock: &dyn Clock,
    ) -> Self {
        let now = Instant::now();
        let mut timer = Self {
            sleep: Box::pin(tokio::time::sleep_until(now)),
            started_at: now,
            lifetime_ends_at: quotas.max_lifetime.map(|lifetime| now + lifetime),
            token_expires_at,
            idle_timeout: quotas.idle_timeout,
            blocked_since: None,
            stalled_write_timeout,
            pings: None,
            ping_due: false,
        };
        let first = timer.next_deadline(now, now + quotas.idle_timeout, clock);
        timer.sleep.as_mut().reset(first);
        timer
    }

    /// Adds the pings of the settings, if any.
    pub fn with_pings(mut self, settings: &SessionConfig) -> Self {
        if let Some(interval) = settings.ping_interval {
            let pings = PingSchedule::new(interval, settings.ping_timeout, self.started_at);
            let first = self.sleep.deadline().min(pings.next_step_at());
            self.sleep.as_mut().reset(first);
            self.pings = Some(pings);
        }
        self
    }

    /// Records whether the client has proved that it is alive: bytes of it have arrived since the last poll, or it is
    /// not read at the moment.
    pub const fn observe_client(&mut self, alive: bool) {
        if let (true, Some(pings)) = (alive, &mut self.pings) {
            pings.record_answer();
        }
    }

    /// Returns whether a ping has to be sent, once for each.
    pub const fn take_due_ping(&mut self) -> bool {
        std::mem::replace(&mut self.ping_due, false)
    }

    /// Returns the cause to close the connection if a deadline has passed, and registers the waker for the next
    /// deadline. Messages in both directions count as activity, as on API Gateway; pings do not.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
        blocked: bool,
        clock: &dyn Clock,
    ) -> Option<CloseCause> {
        self.track_blocked(blocked);
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle_at = connection.last_active_instant().max(self.started_at) + self.idle_timeout;
            if let Some(cause) = self.due_close_cause(now, idle_at, clock) {
                return Some(cause);
            }
            match self.pings.as_mut().map_or(PingStep::Wait, |pings| pings.next_step(now, blocked)) {
                PingStep::Wait => {}
                PingStep::Send => self.ping_due = true,
                PingStep::Lost => return Some(CloseCause::ConnectionLost),
            }
            let next = self.next_deadline(now, idle_at, clock);
            self.sleep.as_mut().reset(next);
        }
        None
    }

    fn track_blocked(&mut self, blocked: bool) {
        if !blocked {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() {
            let now = Instant::now();
            self.blocked_since = Some(now);
            if self.sleep.deadline() > now + self.stalled_write_timeout {
                self.sleep.as_mut().reset(now + self.stalled_write_timeout);
            }
        }
    }

    fn due_close_cause(&self, now: Instant, idle_at: Instant, clock: &dyn Clock) -> Option<CloseCause> {
        if self.blocked_since.is_some_and(|since| now >= since + self.stalled_write_timeout) {
            return Some(CloseCause::SlowConsumer);
        }
        if self.token_remaining(clock).is_some_and(|remaining| remaining.is_zero()) {
            return Some(CloseCause::TokenExpired);
        }
        if self.lifetime_ends_at.is_some_and(|ends_at| now >= ends_at) {
            return Some(CloseCause::LifetimeReached);
        }
        (now >= idle_at).then_some(CloseCause::Idle)
    }

    fn next_deadline(&self, now: Instant, idle_at: Instant, clock: &dyn Clock) -> Instant {
        let stalled = self.blocked_since.map(|since| since + self.stalled_write_timeout);
        let expired = self.token_remaining(clock).map(|remaining| now + remaining.min(MAX_EXPIRY_WAIT));
        let ping = self.pings.as_ref().map(PingSchedule::next_step_at);
        [self.lifetime_ends_at, stalled, expired, ping].into_iter().flatten().fold(idle_at, Instant::min)
    }

    /// Returns the time until the token expires; zero from its expiry on.
    fn token_remaining(&self, clock: &dyn Clock) -> Option<Duration> {
        let millis = self.token_expires_at?.saturating_mul(1_000).saturating_sub(clock.now().0);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Poll;

    use gateway::quotas::Quotas;
    use handlers::identity::Role;
    use handlers::memory::ManualClock;
    use handlers::ports::Timestamp;

    use super::*;
    use crate::hub::tests::{connect_on_node, hub};

    fn test_connection() -> Arc<Connection> {
        connect_on_node(&hub().0, 1, 1, "alice", Role::User)
    }

    /// Starts at second 1,000; the clock advances by hand, tokio's timers by themselves.
    fn timer(expires_at: i64, clock: &ManualClock) -> SessionTimer {
        SessionTimer::new(&Quotas::aws_profile(), Duration::from_secs(15), Some(expires_at), clock)
    }

    async fn next_cause(timer: &mut SessionTimer, connection: &Connection, clock: &ManualClock) -> CloseCause {
        poll_fn(|cx| timer.poll(cx, connection, false, clock).map_or(Poll::Pending, Poll::Ready)).await
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_token_closes_an_idle_connection_before_its_idle_timeout() {
        let (clock, connection) = (Arc::new(ManualClock::new(Timestamp(1_000_000))), test_connection());
        let (mut timer, started) = (timer(1_004, &clock), Instant::now());
        let advance = async {
            tokio::time::sleep(Duration::from_millis(3_999)).await;
            clock.advance(Duration::from_secs(4));
        };
        let (cause, ()) = tokio::join!(next_cause(&mut timer, &connection, &clock), advance);
        assert_eq!((cause, started.elapsed()), (CloseCause::TokenExpired, Duration::from_secs(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_does_not_close_a_connection_early() {
        let (clock, connection) = (Arc::new(ManualClock::new(Timestamp(1_000_000))), test_connection());
        let (mut timer, started) = (timer(1_004, &clock), Instant::now());
        let advance = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            clock.advance(Duration::from_secs(4));
        };
        let (cause, ()) = tokio::join!(next_cause(&mut timer, &connection, &clock), advance);
        assert_eq!((cause, started.elapsed()), (CloseCause::TokenExpired, Duration::from_secs(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_expiry_in_the_distant_future_is_no_deadline() {
        let (clock, connection) = (Arc::new(ManualClock::new(Timestamp(1_000_000))), test_connection());
        let mut timer = timer(i64::MAX, &clock);
        assert_eq!(next_cause(&mut timer, &connection, &clock).await, CloseCause::Idle);
    }
}
