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
pub struct Timer {
    sleep: Pin<Box<Sleep>>,
    started: Instant,
    ends: Option<Instant>,
    idle: Duration,
    blocked_since: Option<Instant>,
    stalled_write: Duration,
}

impl Timer {
    /// A timer that starts now.
    pub fn new(quotas: &Quotas, stalled_write: Duration) -> Self {
        let now = Instant::now();
        let ends = quotas.lifetime.map(|lifetime| now + lifetime);
        let first = ends.map_or(now + quotas.idle, |ends| ends.min(now + quotas.idle));
        Self {
            sleep: Box::pin(tokio::time::sleep_until(first)),
            started: now,
            ends,
            idle: quotas.idle,
            blocked_since: None,
            stalled_write,
        }
    }

    /// Why the session has to end, if it has to. Arranges to be woken for the next moment that matters. API Gateway counts
    /// messages in both directions as activity.
    pub fn poll(&mut self, cx: &mut Context<'_>, handle: &Connection, blocked: bool) -> Option<CloseCause> {
        self.note_blocked(blocked);
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let idle_at = handle.active_at().max(self.started) + self.idle;
            if let Some(cause) = self.due(now, idle_at) {
                return Some(cause);
            }
            let next = self.next(idle_at);
            self.sleep.as_mut().reset(next);
        }
        None
    }

    fn note_blocked(&mut self, blocked: bool) {
        if !blocked {
            self.blocked_since = None;
        } else if self.blocked_since.is_none() {
            let now = Instant::now();
            self.blocked_since = Some(now);
            if self.sleep.deadline() > now + self.stalled_write {
                self.sleep.as_mut().reset(now + self.stalled_write);
            }
        }
    }

    fn due(&self, now: Instant, idle_at: Instant) -> Option<CloseCause> {
        if self.blocked_since.is_some_and(|since| now >= since + self.stalled_write) {
            return Some(CloseCause::SlowConsumer);
        }
        if self.ends.is_some_and(|ends| now >= ends) {
            return Some(CloseCause::LifetimeReached);
        }
        (now >= idle_at).then_some(CloseCause::Idle)
    }

    fn next(&self, idle_at: Instant) -> Instant {
        let stalled = self.blocked_since.map(|since| since + self.stalled_write);
        [self.ends, stalled].into_iter().flatten().fold(idle_at, Instant::min)
    }
}
