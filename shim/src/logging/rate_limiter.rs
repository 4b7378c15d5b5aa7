//! Rate limiter of repeated log lines.
//!
//! During an outage of a back end every message and connection can fail in the same way, thousands of times per second,
//! and a client can send as many requests that are rejected. At most [`MAX_LINES_PER_WINDOW`] lines per callsite are
//! written in each [`WINDOW_DURATION`], whatever their fields; a summary line then reports the number of suppressed
//! lines. Events below `INFO` and the output of functions are not limited.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum number of lines of one callsite per window: enough to see that more than one connection is affected.
const MAX_LINES_PER_WINDOW: u64 = 10;
const WINDOW_DURATION: Duration = Duration::from_secs(30);
/// Targets that are not limited: the output of functions, and the limiter's own summary lines.
const EXEMPT_TARGETS: [&str; 2] = ["function", module_path!()];

/// Layer that drops lines above the limit. It keeps one entry per callsite with an open window.
#[derive(Default)]
pub(super) struct LogRateLimiter {
    callsites: Mutex<Vec<CallsiteWindow>>,
}

/// Lines of one callsite in the current window.
struct CallsiteWindow {
    id: Identifier,
    message: String,
    started: Instant,
    lines: u64,
}

/// Number of lines of one callsite suppressed in a window.
#[derive(Debug, PartialEq, Eq)]
struct SuppressedLines {
    message: String,
    lines: u64,
}

impl LogRateLimiter {
    fn admit_line(&self, id: &Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut callsites = self.callsites.lock();
        let Some(window) = callsites.iter_mut().find(|window| window.id == *id) else {
            callsites.push(CallsiteWindow { id: id.clone(), message: message(), started: now, lines: 1 });
            return true;
        };
        window.lines += 1;
        window.lines <= MAX_LINES_PER_WINDOW
    }

    /// Removes expired windows and returns the number of lines suppressed in each.
    fn end_expired_windows(&self, now: Instant) -> Vec<SuppressedLines> {
        let mut suppressed = Vec::new();
        self.callsites.lock().retain(|window| {
            let active = now.duration_since(window.started) < WINDOW_DURATION;
            if !active && window.lines > MAX_LINES_PER_WINDOW {
                suppressed.push(SuppressedLines {
                    message: window.message.clone(),
                    lines: window.lines - MAX_LINES_PER_WINDOW,
                });
            }
            active
        });
        suppressed
    }
}

impl<S: Subscriber> Layer<S> for LogRateLimiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if EXEMPT_TARGETS.contains(&metadata.target()) {
            return true;
        }
        let now = Instant::now();
        // Any later event reports the expired windows, during an outage and after it.
        for SuppressedLines { message, lines } in self.end_expired_windows(now) {
            tracing::warn!(log.message = message, suppressed = lines, "repeated log lines suppressed");
        }
        *metadata.level() > Level::INFO || self.admit_line(&metadata.callsite(), now, || event_message(event))
    }
}

/// Returns the message of an event, without its fields.
fn event_message(event: &Event<'_>) -> String {
    struct MessageVisitor(String);
    impl Visit for MessageVisitor {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // Writing to a String never fails.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = MessageVisitor(String::new());
    event.record(&mut message);
    message.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::Metadata;
    use tracing::callsite::Callsite;
    use tracing::subscriber::Interest;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct TestCallsite;

    impl Callsite for TestCallsite {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("the limiter only compares callsites")
        }
    }

    /// Counts the events that pass the limiter.
    struct Counter(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn equal_lines_are_bounded_and_others_pass() {
        let passed = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(LogRateLimiter::default()).with(Counter(passed.clone()));
        let lines = || passed.swap(0, Ordering::Relaxed);
        tracing::subscriber::with_default(subscriber, || {
            (0..1_000).for_each(|number| tracing::warn!(number, "redis unavailable"));
            assert_eq!(lines(), 10);
            tracing::error!("another line");
            (0..1_000).for_each(|_| tracing::info!(token.error = "signature", "handshake rejected"));
            assert_eq!(lines(), 11);
            (0..50).for_each(|_| tracing::debug!("activity of a client"));
            (0..50).for_each(|_| tracing::error!(target: "function", "output of a function"));
            assert_eq!(lines(), 100);
        });
    }

    #[test]
    fn an_expired_window_reports_its_suppressed_lines() {
        let (limiter, start) = (LogRateLimiter::default(), Instant::now());
        let id = Identifier(&TestCallsite);
        let admitted = (0..MAX_LINES_PER_WINDOW + 5)
            .filter(|_| limiter.admit_line(&id, start, || "redis unavailable".to_owned()))
            .count() as u64;
        let early = limiter.end_expired_windows(start + WINDOW_DURATION / 2);
        assert_eq!((admitted, early), (MAX_LINES_PER_WINDOW, vec![]));
        let suppressed = SuppressedLines { message: "redis unavailable".to_owned(), lines: 5 };
        assert_eq!(limiter.end_expired_windows(start + WINDOW_DURATION), [suppressed]);
        assert!(limiter.admit_line(&id, start + WINDOW_DURATION, String::new), "a new window");
        assert_eq!(limiter.end_expired_windows(start + 3 * WINDOW_DURATION), [], "it suppressed no line");
    }
}
