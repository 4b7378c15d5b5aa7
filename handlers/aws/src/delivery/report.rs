//! What became of a broadcast: counts, one log line when not everybody was reached, and one answer.

use handlers::ports::{Delivered, DeliveryError, StoreError};

use super::post::{Fate, PostFailed};
use super::unresolved;

/// A broadcast's counts so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    sent: u64,
    gone: u64,
    throttled: u64,
    failed: u64,
    /// Whether there are receivers that nobody tried to reach.
    cut_off: bool,
    /// The first failure stands for all.
    failure: Option<DeliveryError>,
}

impl Report {
    pub(super) fn count(&mut self, fate: Fate) {
        let failure = match fate {
            Fate::Sent => return self.sent += 1,
            Fate::Gone => return self.gone += 1,
            Fate::Failed(failure) => failure,
        };
        match failure {
            PostFailed::Throttled(_) => self.throttled += 1,
            _ => self.failed += 1,
        }
        self.failure.get_or_insert_with(|| failure.into());
    }

    /// Time is up before the last page of receivers.
    pub(super) fn cut_off(&mut self) {
        self.cut_off = true;
        self.failure.get_or_insert_with(|| PostFailed::Late.into());
    }

    /// The store does not name the rest of the receivers.
    pub(super) fn unresolved(&mut self, error: StoreError) {
        self.cut_off = true;
        self.failure.get_or_insert_with(|| unresolved(error));
    }

    /// Whether anybody was tried.
    pub(super) const fn has_any(&self) -> bool {
        self.sent + self.gone + self.throttled + self.failed > 0
    }

    /// Says what did not go well. A broadcast that reached somebody is a delivery; one that failed for all is a failure.
    pub(super) fn finish(self) -> Result<Delivered, DeliveryError> {
        let Self { sent, gone, throttled, failed, cut_off, failure } = self;
        let Some(failure) = failure else {
            if gone > 0 {
                tracing::info!(delivery.sent = sent, delivery.gone = gone, "some connections of a broadcast are gone");
            }
            return Ok(Delivered::To(Some(sent)));
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
        Ok(Delivered::To(Some(sent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttled() -> Fate {
        Fate::Failed(PostFailed::Throttled("slow down".into()))
    }

    #[test]
    fn a_broadcast_that_reached_somebody_is_a_delivery() {
        let mut report = Report::default();
        for fate in [Fate::Sent, Fate::Gone, throttled(), Fate::Failed(PostFailed::Late)] {
            report.count(fate);
        }
        assert_eq!((report.sent, report.gone, report.throttled, report.failed), (1, 1, 1, 1));
        assert_eq!(report.finish().unwrap(), Delivered::To(Some(1)));
    }

    #[test]
    fn one_that_failed_for_all_is_not_and_nobody_there_is_no_failure() {
        let mut report = Report::default();
        report.count(throttled());
        report.count(Fate::Gone);
        assert!(matches!(report.finish(), Err(DeliveryError::Unavailable(_))));
        let mut report = Report::default();
        report.count(Fate::Gone);
        assert_eq!(report.finish().unwrap(), Delivered::To(Some(0)));
    }
}
