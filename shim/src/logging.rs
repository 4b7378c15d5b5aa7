//! Log lines: JSON for machines, readable ones for a person at a terminal, both on standard error.
//!
//! Standard output belongs to what a command prints. What may be in a line at all is each component's duty: never bodies,
//! tokens or addresses of clients. Lines that repeat in masses are bounded here ([`flood`]).

mod rate_limiter;

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::rate_limiter::LogRateLimiter;
use crate::config::{LogFormat, LoggingConfig};

/// Files that container runtimes leave in every container (Docker, Podman).
const CONTAINER_MARKER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Starts logging for the rest of the process's life.
///
/// # Errors
/// Logging has been started before.
pub fn init_logging(config: &LoggingConfig) -> Result<(), TryInitError> {
    let terminal = std::io::stderr().is_terminal();
    let contained = CONTAINER_MARKER_FILES.iter().any(|mark| Path::new(mark).exists());
    // The configuration has parsed it once already; a directive can only be lost if the crate changes its mind.
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let registry = tracing_subscriber::registry().with(filter).with(LogRateLimiter::default());
    let lines = fmt::layer().with_writer(std::io::stderr);
    if is_json(config.format, terminal, contained) {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else if terminal {
        registry.with(lines.compact()).try_init()
    } else {
        registry.with(lines.compact().with_ansi(false)).try_init()
    }
}

/// A terminal inside a container is mostly one that nobody looks at.
const fn is_json(format: LogFormat, terminal: bool, contained: bool) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal || contained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_at_a_terminal_reads_and_machines_get_json() {
        assert!(!is_json(LogFormat::Auto, true, false));
        assert!(is_json(LogFormat::Auto, true, true));
        assert!(is_json(LogFormat::Auto, false, false));
        assert!(is_json(LogFormat::Json, true, false));
        assert!(!is_json(LogFormat::Pretty, false, true));
    }
}
