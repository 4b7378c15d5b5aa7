//! Progress display: a bar on a terminal, otherwise a line at an interval.
//!
//! All of it goes to standard error; standard output is for the report.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Interval between two lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const BAR_TEMPLATE: &str = "{prefix} [{bar:30}] {human_pos}/{human_len} messages, {per_sec}, {eta} left";

/// Progress of one pass over all channels.
pub struct Progress {
    verb: &'static str,
    total: u64,
    processed: AtomicU64,
    output: ProgressOutput,
}

enum ProgressOutput {
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
}

impl Progress {
    /// Starts a pass over `total` messages, with a bar if standard error is a terminal.
    #[must_use]
    pub fn new(verb: &'static str, total: u64) -> Self {
        let output = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(BAR_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressOutput::Bar(ProgressBar::new(total).with_prefix(verb).with_style(style))
        } else {
            ProgressOutput::Lines(Mutex::new(Instant::now()))
        };
        Self { verb, total, processed: AtomicU64::new(0), output }
    }

    /// Adds `count` processed messages.
    pub fn add_messages(&self, count: u64) {
        let processed = self.processed.fetch_add(count, Ordering::Relaxed) + count;
        match &self.output {
            ProgressOutput::Bar(bar) => bar.set_position(processed),
            ProgressOutput::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    eprintln!("{}: {processed} of {} messages", self.verb, self.total);
                }
            }
        }
    }

    /// Ends the pass and removes the bar.
    pub fn finish(&self) {
        if let ProgressOutput::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }
}
