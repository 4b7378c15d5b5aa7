//! Outcome of a fan-out: counts, one log record if the fan-out was incomplete, and the result for the caller.

use handlers::ports::{DeliveryError, DeliveryOutcome, StoreError};

use super::post::{PostError, PostOutcome};
use super::resolution_error;

/// Counts of the posts of one fan-out.
#[derive(Debug, Default)]
pub(super) struct FanOutReport {
    sent: u64,
    gone: u64,
    throttled: u64,
    failed: u64,
    /// Set if connections remain to which nothing was posted.
    truncated: bool,
    /// First error; later ones are only counted.
    first_error: Option<DeliveryError>,
}

impl FanOutReport {
    pub(super) fn record_outcome(&mut self, outcome: PostOutcome) {
        let error = match outcome {
            PostOutcome::Sent => return self.sent += 1,
            PostOutcome::Gone => return self.gone += 1,
            PostOutcome::Failed(error) => error,
        };
        match error {
            PostError::Throttled(_) => self.throttled += 1,
            _ => self.failed += 1,
        }
        self.first_error.get_or_insert_with(|| error.into());
    }

    /// Records that the deadline passed before the last page of connections.
    pub(super) fn record_deadline(&mut self) {
        self.truncated = true;
        self.first_error.get_or_insert_with(|| PostError::Timeout.into());
    }

    /// Records that reading the next page of connections failed.
    pub(super) fn record_store_error(&mut self, error: StoreError) {
        self.truncated = true;
        self.first_error.get_or_insert_with(|| resolution_error(error));
    }

    /// Returns whether at least one post was attempted.
    pub(super) const fn has_attempts(&self) -> bool {
        self.sent + self.gone + self.throttled + self.failed > 0
    }

    /// Logs an incomplete fan-out and returns its result: delivered if at least one post succeeded or all connections
    /// were gone, else the first error.
    pub(super) fn into_result(self) -> Result<DeliveryOutcome, DeliveryError> {
        let Self { sent, gone, throttled, failed, truncated, first_error } = self;
        let Some(error) = first_error else {
            if gone > 0 {
                tracing::info!(delivery.sent = sent, delivery.gone = gone, "broadcast skipped gone connections");
            }
            return Ok(DeliveryOutcome::Delivered(Some(sent)));
        };
        if sent == 0 {
            return Err(error);
        }
        tracing::warn!(
            delivery.sent = sent,
            delivery.gone = gone,
            delivery.throttled = throttled,
            delivery.failed = failed,
            delivery.truncated = truncated,
            error = %errors::chain(&error),
            "broadcast incomplete; clients recover missed messages by offset"
        );
        Ok(DeliveryOutcome::Delivered(Some(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled() -> PostOutcome {
        PostOutcome::Failed(PostError::Throttled("slow down".into()))
    }

    #[test]
    fn a_broadcast_with_one_successful_post_is_delivered() {
        let mut report = FanOutReport::default();
        for outcome in [PostOutcome::Sent, PostOutcome::Gone, throttled(), PostOutcome::Failed(PostError::Timeout)] {
            report.record_outcome(outcome);
        }
        assert_eq!((report.sent, report.gone, report.throttled, report.failed), (1, 1, 1, 1));
        assert_eq!(report.into_result().unwrap(), DeliveryOutcome::Delivered(Some(1)));
    }

    #[test]
    fn a_broadcast_with_failures_only_fails_and_one_to_gone_connections_does_not() {
        let mut report = FanOutReport::default();
        report.record_outcome(throttled());
        report.record_outcome(PostOutcome::Gone);
        assert!(matches!(report.into_result(), Err(DeliveryError::Unavailable(_))));
        let mut report = FanOutReport::default();
        report.record_outcome(PostOutcome::Gone);
        assert_eq!(report.into_result().unwrap(), DeliveryOutcome::Delivered(Some(0)));
    }
}
