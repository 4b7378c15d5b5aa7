//! The loop that asks a server whether it is there: now and then while all is well, with growing pauses while it is not.
//!
//! It alone closes the breaker, so no caller's command is the one that finds out.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::sleep;

use super::Breaker;

/// How often a quiet link is tried: bounds how long a silent loss goes unnoticed.
const QUIET: Duration = Duration::from_secs(2);
/// How soon a link is tried after a failure.
const SOON: Duration = Duration::from_millis(100);
/// The longest pause between two questions while the server is away, before jitter doubles it at most: how late a recovery is
/// noticed at worst.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a server is asked.
pub(crate) trait Question: Send {
    /// Whether the server answers, and is of use; within a deadline of its own.
    fn is_well(&mut self) -> impl Future<Output = bool> + Send;

    /// Tells what is wrong, behind each question that it was not well to.
    fn look(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Asks for ever; dropped with the link.
pub(crate) async fn monitor(breaker: Breaker, mut question: impl Question) {
    let mut pauses = growing();
    loop {
        if question.is_well().await {
            breaker.close();
            pauses = growing();
            tokio::select! {
                () = sleep(QUIET) => {}
                () = breaker.suspicion() => sleep(SOON).await,
            }
        } else {
            breaker.failed();
            question.look().await;
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }
}

fn growing() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(SOON)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}
