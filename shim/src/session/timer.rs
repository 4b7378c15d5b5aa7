//! The one timer of a session: idle, lifetime, stalled write.
//!
//! Activity only notes the moment (in the [`Connection`]); the timer looks at it when it fires and sets itself again, so that
//! traffic never touches the runtime's timer wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use gateway::close::CloseCause;
use gateway::quotas::Quotas;
use tokio::time::{Instant, Sleep};

use crate::connection::Connection;

/// When a session ends by itself.
pub struct SessionTimer {
    sleep: Pin<Box<Sleep>>,
    started: Instant,
    lifetime_ends_at: Option<Instant>,
    idle_timeout: Duration,
    blocked_since: Option<Instant>,
    stalled_write_timeout: Duration,
}

impl SessionTimer {
    /// A timer that starts now.
    pub fn new(quotas: &Quotas, stalled_write: Duration) -> Self {
        let now = Instant::now();
        let ends = quotas.max_lifetime.map(|lifetime| now + lifetime);
        let first = ends.map_or(now + quotas.idle_timeout, |ends| ends.min(now + quotas.idle_timeout));
        Self {
            sleep: Box::pin(tokio::time::sleep_until(first)),
            started: now,
            lifetime_ends_at: ends,
            idle_timeout: quotas.idle_timeout,
            blocked_since: None,
            stalled_write_timeout: stalled_write,
        }
    }

    /// Why the session has to end, if it has to. Arranges to be woken for the next moment that matters. API Gateway counts
    /// messages in both directions as activity.
    pub fn poll(&mut self, cx: &mut Context<'_>, handle: &Connection, blocked: bool) -> Option<CloseCause> {
        self.track_blocked(blocked);
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle_at = handle.last_active_instant().max(self.started) + self.idle_timeout;
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
        if self.lifetime_ends_at.is_some_and(|ends| now >= ends) {
            return Some(CloseCause::LifetimeReached);
        }
        (now >= idle_at).then_some(CloseCause::Idle)
    }

    fn next_deadline(&self, idle_at: Instant) -> Instant {
        let stalled = self.blocked_since.map(|since| since + self.stalled_write_timeout);
        [self.lifetime_ends_at, stalled].into_iter().flatten().fold(idle_at, Instant::min)
    }
}
