//! How far it is: a bar on a terminal, a line now and then elsewhere.
//!
//! Everything goes to standard error; standard output is for the result.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const BAR_TEMPLATE: &str = "{prefix} [{bar:30}] {human_pos}/{human_len} messages, {per_sec}, {eta} left";

/// One pass over all channels.
pub struct Progress {
    verb: &'static str,
    total: u64,
    done: AtomicU64,
    output: ProgressOutput,
}

enum ProgressOutput {
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
}

impl Progress {
    /// A pass of so many messages: a bar if standard error is a terminal.
    #[must_use]
    pub fn new(verb: &'static str, total: u64) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let style = ProgressStyle::with_template(BAR_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressOutput::Bar(ProgressBar::new(total).with_prefix(verb).with_style(style))
        } else {
            ProgressOutput::Lines(Mutex::new(Instant::now()))
        };
        Self { verb, total, done: AtomicU64::new(0), output: shown }
    }

    /// So many more are done.
    pub fn add_messages(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        match &self.output {
            ProgressOutput::Bar(bar) => bar.set_position(done),
            ProgressOutput::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    eprintln!("{}: {done} of {} messages", self.verb, self.total);
                }
            }
        }
    }

    /// The pass is over.
    pub fn finish(&self) {
        if let ProgressOutput::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }
}
