//! What became of a broadcast: counts, one log line when not everybody was reached, and one answer.

use handlers::ports::{DeliveryError, DeliveryOutcome, StoreError};

use super::post::{PostError, PostOutcome};
use super::resolution_error;

/// A broadcast's counts so far.
#[derive(Debug, Default)]
pub(super) struct FanOutReport {
    sent: u64,
    gone: u64,
    throttled: u64,
    failed: u64,
    /// Whether there are receivers that nobody tried to reach.
    truncated: bool,
    /// The first failure stands for all.
    first_error: Option<DeliveryError>,
}

impl FanOutReport {
    pub(super) fn record_outcome(&mut self, fate: PostOutcome) {
        let failure = match fate {
            PostOutcome::Sent => return self.sent += 1,
            PostOutcome::Gone => return self.gone += 1,
            PostOutcome::Failed(failure) => failure,
        };
        match failure {
            PostError::Throttled(_) => self.throttled += 1,
            _ => self.failed += 1,
        }
        self.first_error.get_or_insert_with(|| failure.into());
    }

    /// Time is up before the last page of receivers.
    pub(super) fn record_deadline(&mut self) {
        self.truncated = true;
        self.first_error.get_or_insert_with(|| PostError::Timeout.into());
    }

    /// The store does not name the rest of the receivers.
    pub(super) fn record_store_error(&mut self, error: StoreError) {
        self.truncated = true;
        self.first_error.get_or_insert_with(|| resolution_error(error));
    }

    /// Whether anybody was tried.
    pub(super) const fn has_attempts(&self) -> bool {
        self.sent + self.gone + self.throttled + self.failed > 0
    }

    /// Says what did not go well. A broadcast that reached somebody is a delivery; one that failed for all is a failure.
    pub(super) fn into_result(self) -> Result<DeliveryOutcome, DeliveryError> {
        let Self { sent, gone, throttled, failed, truncated: cut_off, first_error: failure } = self;
        let Some(failure) = failure else {
            if gone > 0 {
                tracing::info!(delivery.sent = sent, delivery.gone = gone, "some connections of a broadcast are gone");
            }
            return Ok(DeliveryOutcome::Delivered(Some(sent)));
        };
        if sent == 0 {
            return Err(failure);
        }
        tracing::warn!(
            delivery.sent = sent,
            delivery.gone = gone,
            delivery.throttled = throttled,
            delivery.failed = failed,
            delivery.cut_off = cut_off,
            error = %errors::chain(&failure),
            "a broadcast did not reach everybody; they catch up by offset"
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
    fn a_broadcast_that_reached_somebody_is_a_delivery() {
        let mut report = FanOutReport::default();
        for fate in [PostOutcome::Sent, PostOutcome::Gone, throttled(), PostOutcome::Failed(PostError::Timeout)] {
            report.record_outcome(fate);
        }
        assert_eq!((report.sent, report.gone, report.throttled, report.failed), (1, 1, 1, 1));
        assert_eq!(report.into_result().unwrap(), DeliveryOutcome::Delivered(Some(1)));
    }

    #[test]
    fn one_that_failed_for_all_is_not_and_nobody_there_is_no_failure() {
        let mut report = FanOutReport::default();
        report.record_outcome(throttled());
        report.record_outcome(PostOutcome::Gone);
        assert!(matches!(report.into_result(), Err(DeliveryError::Unavailable(_))));
        let mut report = FanOutReport::default();
        report.record_outcome(PostOutcome::Gone);
        assert_eq!(report.into_result().unwrap(), DeliveryOutcome::Delivered(Some(0)));
    }
}
