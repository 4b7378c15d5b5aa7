//! Runs rows, some at a time, and collects what became of them.
//!
//! Invariant: the report has the rows in the catalogue's order, whatever order they finished in; a case that panics or
//! hangs costs its own row and nothing else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};

use super::client::ManagementCaller;
use super::report::{CaseOutcome, CaseVerdict, ConformanceReport};
use super::row::{ConformanceCase, ConformanceRow, EvidenceLevel, NotRunnable, RowCheck};
use super::wire::endpoint_address::EndpointAddress;
use super::world::{CaseWorld, ProbeMode};

/// How long one case may take.
const CASE_DEADLINE: Duration = Duration::from_secs(60);
/// Cases at a time against gateways of this process: enough to overlap their waits, few enough to keep time-based ones
/// honest.
const LOCAL_CASES: usize = 4;

/// Where rows are run.
#[derive(Debug, Clone)]
pub enum RunTarget {
    /// Against gateways of this process.
    Local(ProbeMode),
    /// Against the endpoint there, one row at a time; calls of `@connections` are signed where there is a caller.
    Remote(EndpointAddress, Option<ManagementCaller>),
}

/// Runs `rows` against one target.
pub async fn run(rows: &[ConformanceRow], target: &RunTarget) -> ConformanceReport {
    let (at_once, endpoint) = match target {
        RunTarget::Local(_) => (LOCAL_CASES, None),
        RunTarget::Remote(place, _) => (1, Some(place.clone())),
    };
    let outcomes = futures_util::stream::iter(rows).map(|row| outcome(row, target)).buffered(at_once);
    ConformanceReport { endpoint, outcomes: outcomes.collect().await, executables: None }
}

/// Runs `rows` with in-process handlers and then with handlers that run as Lambda executables.
pub async fn run_both(rows: &[ConformanceRow]) -> ConformanceReport {
    let in_process = run(rows, &RunTarget::Local(ProbeMode::InProcess)).await;
    let executables = run(rows, &RunTarget::Local(ProbeMode::Executables)).await;
    ConformanceReport { executables: Some(executables.outcomes), ..in_process }
}

async fn outcome(row: &ConformanceRow, target: &RunTarget) -> CaseOutcome {
    let verdict = match row.check {
        RowCheck::Holds(case) => classify_attempt(attempt(case, target).await, holds(row.mark)),
        RowCheck::Differs { reason, case } => {
            classify_attempt(attempt(case, target).await, CaseVerdict::Differs(reason.to_owned()))
        }
        RowCheck::NotApplicable(why) => CaseVerdict::NotApplicable(why.to_owned()),
        RowCheck::NotRunnable(why) => CaseVerdict::NotRunnable(why.to_owned()),
        RowCheck::NotYet(why) => CaseVerdict::NotYet(why.to_owned()),
    };
    CaseOutcome { row: *row, verdict }
}

const fn holds(mark: EvidenceLevel) -> CaseVerdict {
    match mark {
        EvidenceLevel::Unknown => CaseVerdict::Chosen,
        EvidenceLevel::Documented | EvidenceLevel::Reported | EvidenceLevel::Inferred => CaseVerdict::Holds,
    }
}

fn classify_attempt(attempt: anyhow::Result<()>, passed: CaseVerdict) -> CaseVerdict {
    match attempt {
        Ok(()) => passed,
        Err(error) => match error.downcast::<NotRunnable>() {
            Ok(NotRunnable(why)) => CaseVerdict::NotRunnable(why),
            Err(error) => CaseVerdict::Fails(format!("{error:#}")),
        },
    }
}

async fn attempt(case: ConformanceCase, target: &RunTarget) -> anyhow::Result<()> {
    let world = match target {
        RunTarget::Local(handlers) => CaseWorld::of(*handlers),
        RunTarget::Remote(place, caller) => CaseWorld::remote(place.clone(), caller.clone()),
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
