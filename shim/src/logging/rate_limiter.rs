//! A flood gate: of equal warnings and errors few are written, and how many were left out is told.
//!
//! While a back end is away every message and every connection fails in the same way, thousands a second; the first lines say
//! all there is to say. Lines are equal when the same place in the code writes them, whatever their fields are. Invariant: at
//! most [`MAX_LINES_PER_WINDOW`] of them in every [`WINDOW_DURATION`]. What functions print is theirs and passes, as does everything below a warning.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Most equal lines in one window: enough to see that more than one connection is concerned.
const MAX_LINES_PER_WINDOW: u64 = 10;
/// How long a window is.
const WINDOW_DURATION: Duration = Duration::from_secs(30);
/// Where lines come from that pass: functions, and the gate itself.
const EXEMPT_TARGETS: [&str; 2] = ["function", module_path!()];

/// The gate. It holds one small entry for each place in the code that has written a warning.
#[derive(Default)]
pub(super) struct LogRateLimiter {
    callsites: Mutex<Vec<CallsiteWindow>>,
}

/// One place in the code.
struct CallsiteWindow {
    id: Identifier,
    message: String,
    started: Instant,
    lines: u64,
}

/// Lines that were left out.
#[derive(Debug, PartialEq, Eq)]
struct SuppressedLines {
    message: String,
    lines: u64,
}

impl LogRateLimiter {
    fn admit_line(&self, id: &Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut places = self.callsites.lock();
        let Some(place) = places.iter_mut().find(|place| place.id == *id) else {
            places.push(CallsiteWindow { id: id.clone(), message: message(), started: now, lines: 1 });
            return true;
        };
        place.lines += 1;
        place.lines <= MAX_LINES_PER_WINDOW
    }

    /// Ends the windows that are over, and tells what was left out in them.
    fn end_expired_windows(&self, now: Instant) -> Vec<SuppressedLines> {
        let mut left_out = Vec::new();
        self.callsites.lock().retain(|place| {
            let lasts = now.duration_since(place.started) < WINDOW_DURATION;
            if !lasts && place.lines > MAX_LINES_PER_WINDOW {
                left_out.push(SuppressedLines {
                    message: place.message.clone(),
                    lines: place.lines - MAX_LINES_PER_WINDOW,
                });
            }
            lasts
        });
        left_out
    }
}

impl<S: Subscriber> Layer<S> for LogRateLimiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if EXEMPT_TARGETS.contains(&metadata.target()) {
            return true;
        }
        let now = Instant::now();
        // Whatever is logged next tells of a window that is over: during an outage, and behind it.
        for SuppressedLines { message, lines } in self.end_expired_windows(now) {
            tracing::warn!(log.message = message, suppressed = lines, "repeated log lines suppressed");
        }
        *metadata.level() > Level::WARN || self.admit_line(&metadata.callsite(), now, || event_message(event))
    }
}

/// The fixed text of a line.
fn event_message(event: &Event<'_>) -> String {
    struct MessageVisitor(String);
    impl Visit for MessageVisitor {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // A string takes everything.
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

    /// A place in the code.
    struct Here;

    impl Callsite for Here {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("the gate tells places apart and asks them nothing")
        }
    }

    /// Counts what comes through.
    struct Counter(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn equal_warnings_are_bounded_and_others_pass() {
        let passed = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(LogRateLimiter::default()).with(Counter(passed.clone()));
        let lines = || passed.swap(0, Ordering::Relaxed);
        tracing::subscriber::with_default(subscriber, || {
            (0..1_000).for_each(|number| tracing::warn!(number, "it is away"));
            assert_eq!(lines(), 10);
            tracing::error!("another line");
            (0..50).for_each(|_| tracing::info!("a life goes on"));
            (0..50).for_each(|_| tracing::error!(target: "function", "what it printed"));
            assert_eq!(lines(), 101);
        });
    }

    #[test]
    fn a_window_that_is_over_tells_what_it_left_out() {
        let (gate, begun) = (LogRateLimiter::default(), Instant::now());
        let id = Identifier(&Here);
        let admitted = (0..MAX_LINES_PER_WINDOW + 5)
            .filter(|_| gate.admit_line(&id, begun, || "it is away".to_owned()))
            .count() as u64;
        assert_eq!((admitted, gate.end_expired_windows(begun + WINDOW_DURATION / 2)), (MAX_LINES_PER_WINDOW, vec![]));
        let left_out = SuppressedLines { message: "it is away".to_owned(), lines: 5 };
        assert_eq!(gate.end_expired_windows(begun + WINDOW_DURATION), [left_out]);
        assert!(gate.admit_line(&id, begun + WINDOW_DURATION, String::new), "another window");
        assert_eq!(gate.end_expired_windows(begun + 3 * WINDOW_DURATION), [], "nothing was left out of it");
    }
}
