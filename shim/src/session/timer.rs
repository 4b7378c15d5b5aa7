//! Timer of a session: idle timeout, maximum lifetime, stalled write.
//!
//! Activity only updates a timestamp in the [`Connection`]. When the timer fires, it reads the timestamp and resets
//! itself, so that traffic never modifies the runtime's timer wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use gateway::close::CloseCause;
use gateway::quotas::Quotas;
use tokio::time::{Instant, Sleep};

use crate::connection::Connection;

/// Deadlines after which a session closes its connection.
pub struct SessionTimer {
    sleep: Pin<Box<Sleep>>,
    started_at: Instant,
    lifetime_ends_at: Option<Instant>,
    idle_timeout: Duration,
    blocked_since: Option<Instant>,
    stalled_write_timeout: Duration,
}

impl SessionTimer {
    /// Creates a timer that starts now.
    pub fn new(quotas: &Quotas, stalled_write_timeout: Duration) -> Self {
        let now = Instant::now();
        let (idle_at, lifetime_ends_at) =
            (now + quotas.idle_timeout, quotas.max_lifetime.map(|lifetime| now + lifetime));
        let first = lifetime_ends_at.map_or(idle_at, |ends_at| ends_at.min(idle_at));
        Self {
            sleep: Box::pin(tokio::time::sleep_until(first)),
            started_at: now,
            lifetime_ends_at,
            idle_timeout: quotas.idle_timeout,
            blocked_since: None,
            stalled_write_timeout,
        }
    }

    /// Returns the cause to close the connection if a deadline has passed, and registers the waker for the next
    /// deadline. Messages in both directions count as activity, as on API Gateway.
    pub fn poll(&mut self, cx: &mut Context<'_>, connection: &Connection, blocked: bool) -> Option<CloseCause> {
        self.track_blocked(blocked);
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle_at = connection.last_active_instant().max(self.started_at) + self.idle_timeout;
            if let Some(cause) = self.due_close_cause(now, idle_at) {
                return Some(cause);
            }
            let next = self.next_deadline(idle_at);
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

    fn due_close_cause(&self, now: Instant, idle_at: Instant) -> Option<CloseCause> {
        if self.blocked_since.is_some_and(|since| now >= since + self.stalled_write_timeout) {
            return Some(CloseCause::SlowConsumer);
        }
        if self.lifetime_ends_at.is_some_and(|ends_at| now >= ends_at) {
            return Some(CloseCause::LifetimeReached);
        }
        (now >= idle_at).then_some(CloseCause::Idle)
    }

    fn next_deadline(&self, idle_at: Instant) -> Instant {
        let stalled = self.blocked_since.map(|since| since + self.stalled_write_timeout);
        [self.lifetime_ends_at, stalled].into_iter().flatten().fold(idle_at, Instant::min)
    }
}
