//! A flood gate: of equal warnings and errors few are written, and how many were left out is told.
//!
//! While a back end is away every message and every connection fails in the same way, thousands a second; the first lines say
//! all there is to say. Lines are equal when the same place in the code writes them, whatever their fields are. Invariant: at
//! most [`BURST`] of them in every [`WINDOW`]. What functions print is theirs and passes, as does everything below a warning.

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
const BURST: u64 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(30);
/// Where lines come from that pass: functions, and the gate itself.
const EXEMPT: [&str; 2] = ["function", module_path!()];

/// The gate. It holds one small entry for each place in the code that has written a warning.
#[derive(Default)]
pub(super) struct FloodGate {
    places: Mutex<Vec<Place>>,
}

/// One place in the code.
struct Place {
    id: Identifier,
    message: String,
    begun: Instant,
    lines: u64,
}

/// Lines that were left out.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    message: String,
    lines: u64,
}

impl FloodGate {
    fn admits(&self, id: &Identifier, now: Instant, message: impl FnOnce() -> String) -> bool {
        let mut places = self.places.lock();
        let Some(place) = places.iter_mut().find(|place| place.id == *id) else {
            places.push(Place { id: id.clone(), message: message(), begun: now, lines: 1 });
            return true;
        };
        place.lines += 1;
        place.lines <= BURST
    }

    /// Ends the windows that are over, and tells what was left out in them.
    fn ended(&self, now: Instant) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        self.places.lock().retain(|place| {
            let lasts = now.duration_since(place.begun) < WINDOW;
            if !lasts && place.lines > BURST {
                left_out.push(LeftOut { message: place.message.clone(), lines: place.lines - BURST });
            }
            lasts
        });
        left_out
    }
}

impl<S: Subscriber> Layer<S> for FloodGate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if EXEMPT.contains(&metadata.target()) {
            return true;
        }
        let now = Instant::now();
        // Whatever is logged next tells of a window that is over: during an outage, and behind it.
        for LeftOut { message, lines } in self.ended(now) {
            tracing::warn!(log.message = message, lines, "equal lines were left out");
        }
        *metadata.level() > Level::WARN || self.admits(&metadata.callsite(), now, || message_of(event))
    }
}

/// The fixed text of a line.
fn message_of(event: &Event<'_>) -> String {
    struct Message(String);
    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                // A string takes everything.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }
    let mut message = Message(String::new());
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
        let subscriber = tracing_subscriber::registry().with(FloodGate::default()).with(Counter(passed.clone()));
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
        let (gate, begun) = (FloodGate::default(), Instant::now());
        let id = Identifier(&Here);
        let admitted = (0..BURST + 5).filter(|_| gate.admits(&id, begun, || "it is away".to_owned())).count() as u64;
        assert_eq!((admitted, gate.ended(begun + WINDOW / 2)), (BURST, vec![]));
        let left_out = LeftOut { message: "it is away".to_owned(), lines: 5 };
        assert_eq!(gate.ended(begun + WINDOW), [left_out]);
        assert!(gate.admits(&id, begun + WINDOW, String::new), "another window");
        assert_eq!(gate.ended(begun + 3 * WINDOW), [], "nothing was left out of it");
    }
}
