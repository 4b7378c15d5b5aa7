//! Runs rows, some at a time, and collects what became of them.
//!
//! Invariant: the report has the rows in the catalogue's order, whatever order they finished in; a case that panics or
//! hangs costs its own row and nothing else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};

use super::report::{Outcome, Report, Verdict};
use super::row::{Case, Check, Mark, NotRunnable, Row};
use super::wire::place::Place;
use super::world::World;

/// How long one case may take.
const CASE_DEADLINE: Duration = Duration::from_secs(60);
/// Cases at a time against gateways of this process: enough to overlap their waits, few enough to keep time-based ones
/// honest.
const LOCAL_CASES: usize = 4;

/// Runs `rows`; against `place` when there is one, one at a time.
pub async fn run(rows: &[Row], place: Option<&Place>) -> Report {
    let at_once = if place.is_some() { 1 } else { LOCAL_CASES };
    let outcomes = futures_util::stream::iter(rows).map(|row| outcome(row, place)).buffered(at_once);
    Report { endpoint: place.cloned(), outcomes: outcomes.collect().await }
}

async fn outcome(row: &Row, place: Option<&Place>) -> Outcome {
    let verdict = match row.check {
        Check::Holds(case) => judge(attempt(case, place).await, holds(row.mark)),
        Check::Differs { reason, case } => judge(attempt(case, place).await, Verdict::Differs(reason.to_owned())),
        Check::NotApplicable(why) => Verdict::NotApplicable(why.to_owned()),
        Check::NotRunnable(why) => Verdict::NotRunnable(why.to_owned()),
        Check::NotYet(why) => Verdict::NotYet(why.to_owned()),
    };
    Outcome { row: *row, verdict }
}

const fn holds(mark: Mark) -> Verdict {
    match mark {
        Mark::Unknown => Verdict::Chosen,
        Mark::Documented | Mark::Reported | Mark::Inferred => Verdict::Holds,
    }
}

fn judge(attempt: anyhow::Result<()>, passed: Verdict) -> Verdict {
    match attempt {
        Ok(()) => passed,
        Err(error) => match error.downcast::<NotRunnable>() {
            Ok(NotRunnable(why)) => Verdict::NotRunnable(why),
            Err(error) => Verdict::Fails(format!("{error:#}")),
        },
    }
}

async fn attempt(case: Case, place: Option<&Place>) -> anyhow::Result<()> {
    let world = place.map_or_else(World::local, |place| World::remote(place.clone()));
    let running = AssertUnwindSafe(case(&world)).catch_unwind();
    let result = match tokio::time::timeout(CASE_DEADLINE, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("the case panicked")),
        Err(_) => Err(anyhow::anyhow!("the case did not end within {CASE_DEADLINE:?}")),
    };
    world.close().await;
    result
}
