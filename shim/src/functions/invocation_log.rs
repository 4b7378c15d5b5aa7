//! One log line per invocation of a Lambda function: route, function, status, duration, and whether a process was started
//! for it.
//!
//! The lines have their own target and the level `debug`, so that `RUST_LOG=info,twinway::invocation=debug` shows them
//! alone, as `twinway dev` does. They contain neither events nor responses.

use std::time::Instant;

use runtime_api::LambdaFunction;

/// Target of the log lines.
pub const INVOCATION_TARGET: &str = "twinway::invocation";

/// An invocation that has started.
pub struct InvocationLog {
    /// `None` while the lines are disabled.
    started: Option<StartedInvocation>,
}

struct StartedInvocation {
    route: String,
    at: Instant,
    process_starts: u64,
}

impl InvocationLog {
    /// Notes the start of an invocation. Costs nothing while the lines are disabled.
    #[must_use]
    pub fn start(function: &LambdaFunction, route: &str) -> Self {
        let is_enabled = tracing::enabled!(target: INVOCATION_TARGET, tracing::Level::DEBUG);
        let started = is_enabled.then(|| StartedInvocation {
            route: route.to_owned(),
            at: Instant::now(),
            process_starts: function.process_starts(),
        });
        Self { started }
    }

    /// Logs the end of the invocation.
    pub fn finish(self, function: &LambdaFunction, status: String) {
        let Some(StartedInvocation { route, at, process_starts }) = self.started else { return };
        let start = if function.process_starts() > process_starts { "cold" } else { "warm" };
        let duration_ms = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(
            target: INVOCATION_TARGET,
            route,
            function.name = function.name(),
            status,
            duration_ms,
            start,
            "invoked"
        );
    }
}
