//! Log output on standard error: JSON lines, or a human-readable format on a terminal.
//!
//! Standard output is reserved for the results of commands. Each component keeps message bodies, tokens and client
//! addresses out of its log events. The rate limiter suppresses repeated lines.

mod rate_limiter;

use std::io::IsTerminal;
use std::path::Path;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use self::rate_limiter::LogRateLimiter;
use crate::config::{LogFormat, LoggingConfig};

/// Marker files that Docker and Podman create in every container.
const CONTAINER_MARKER_FILES: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Installs the global log subscriber for the lifetime of the process.
///
/// # Errors
/// Fails if a global subscriber is already installed.
pub fn init_logging(config: &LoggingConfig) -> Result<(), TryInitError> {
    let terminal = std::io::stderr().is_terminal();
    // The configuration has validated the filter, so `parse_lossy` drops no directive.
    let filter = EnvFilter::builder().parse_lossy(&config.filter);
    let registry = tracing_subscriber::registry().with(filter).with(LogRateLimiter::default());
    let lines = fmt::layer().with_writer(std::io::stderr);
    if is_json(config.format, terminal, in_container()) {
        registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
    } else if terminal {
        registry.with(lines.compact()).try_init()
    } else {
        registry.with(lines.compact().with_ansi(false)).try_init()
    }
}

/// Returns whether this process runs in a container of Docker or Podman, whose output is usually collected.
#[must_use]
pub fn in_container() -> bool {
    CONTAINER_MARKER_FILES.iter().any(|file| Path::new(file).exists())
}

/// Returns whether to log JSON. `Auto` does so in containers even with a terminal, because their output is usually
/// collected by a log agent.
const fn is_json(format: LogFormat, terminal: bool, in_container: bool) -> bool {
    match format {
        LogFormat::Json => true,
        LogFormat::Pretty => false,
        LogFormat::Auto => !terminal || in_container,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_readable_lines_and_everything_else_json() {
        assert!(!is_json(LogFormat::Auto, true, false));
        assert!(is_json(LogFormat::Auto, true, true));
        assert!(is_json(LogFormat::Auto, false, false));
        assert!(is_json(LogFormat::Json, true, false));
        assert!(!is_json(LogFormat::Pretty, false, true));
    }
}
