//! Runs rows, some at a time, and collects what became of them.
//!
//! Invariant: the report has the rows in the catalogue's order, whatever order they finished in; a case that panics or
//! hangs costs its own row and nothing else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};

use super::client::Caller;
use super::report::{Outcome, Report, Verdict};
use super::row::{Case, Check, Mark, NotRunnable, Row};
use super::wire::place::Place;
use super::world::{Handlers, World};

/// How long one case may take.
const CASE_DEADLINE: Duration = Duration::from_secs(60);
/// Cases at a time against gateways of this process: enough to overlap their waits, few enough to keep time-based ones
/// honest.
const LOCAL_CASES: usize = 4;

/// Where rows are run.
#[derive(Debug, Clone)]
pub enum Target {
    /// Against gateways of this process.
    Local(Handlers),
    /// Against the endpoint there, one row at a time; calls of `@connections` are signed where there is a caller.
    Remote(Place, Option<Caller>),
}

/// Runs `rows` against one target.
pub async fn run(rows: &[Row], target: &Target) -> Report {
    let (at_once, endpoint) = match target {
        Target::Local(_) => (LOCAL_CASES, None),
        Target::Remote(place, _) => (1, Some(place.clone())),
    };
    let outcomes = futures_util::stream::iter(rows).map(|row| outcome(row, target)).buffered(at_once);
    Report { endpoint, outcomes: outcomes.collect().await, executables: None }
}

/// Runs `rows` with in-process handlers and then with handlers that run as Lambda executables.
pub async fn run_both(rows: &[Row]) -> Report {
    let in_process = run(rows, &Target::Local(Handlers::InProcess)).await;
    let executables = run(rows, &Target::Local(Handlers::Executables)).await;
    Report { executables: Some(executables.outcomes), ..in_process }
}

async fn outcome(row: &Row, target: &Target) -> Outcome {
    let verdict = match row.check {
        Check::Holds(case) => judge(attempt(case, target).await, holds(row.mark)),
        Check::Differs { reason, case } => judge(attempt(case, target).await, Verdict::Differs(reason.to_owned())),
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

async fn attempt(case: Case, target: &Target) -> anyhow::Result<()> {
    let world = match target {
        Target::Local(handlers) => World::of(*handlers),
        Target::Remote(place, caller) => World::remote(place.clone(), caller.clone()),
    };
    let running = AssertUnwindSafe(case(&world)).catch_unwind();
    let result = match tokio::time::timeout(CASE_DEADLINE, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("the case panicked")),
        Err(_) => Err(anyhow::anyhow!("the case did not end within {CASE_DEADLINE:?}")),
    };
    world.close().await;
    result
}
