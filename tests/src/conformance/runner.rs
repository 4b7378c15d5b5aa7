//! Runs the rows, several at a time, and collects their verdicts.
//!
//! The report has the rows in the order of the catalogue, whatever the order of completion. A case that panics or
//! hangs fails only its own row.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};

use super::client::ManagementCaller;
use super::report::{CaseOutcome, CaseVerdict, ConformanceReport};
use super::row::{ConformanceCase, ConformanceRow, EvidenceLevel, NotRunnableError, RowCheck};
use super::wire::endpoint_address::EndpointAddress;
use super::world::{CaseWorld, ProbeMode};

/// Timeout of one case.
const CASE_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of concurrent cases against in-process gateways: enough to overlap their waits, few enough for accurate
/// timing.
const LOCAL_CASES: usize = 4;

/// Target of a run.
#[derive(Debug, Clone)]
pub enum RunTarget {
    /// In-process gateways.
    Local(ProbeMode),
    /// A remote endpoint, one row at a time; `@connections` calls are signed if there is a caller.
    Remote(EndpointAddress, Option<ManagementCaller>),
}

/// Runs `rows` against one target.
pub async fn run(rows: &[ConformanceRow], target: &RunTarget) -> ConformanceReport {
    let (concurrency, endpoint) = match target {
        RunTarget::Local(_) => (LOCAL_CASES, None),
        RunTarget::Remote(endpoint, _) => (1, Some(endpoint.clone())),
    };
    let outcomes = futures_util::stream::iter(rows).map(|row| outcome(row, target)).buffered(concurrency);
    ConformanceReport { endpoint, outcomes: outcomes.collect().await, executables: None }
}

/// Runs `rows` with in-process handlers and then with handlers as Lambda executables.
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
        Err(error) => match error.downcast::<NotRunnableError>() {
            Ok(NotRunnableError(why)) => CaseVerdict::NotRunnable(why),
            Err(error) => CaseVerdict::Fails(format!("{error:#}")),
        },
    }
}

async fn attempt(case: ConformanceCase, target: &RunTarget) -> anyhow::Result<()> {
    let world = match target {
        RunTarget::Local(handlers) => CaseWorld::of(*handlers),
        RunTarget::Remote(endpoint, caller) => CaseWorld::remote(endpoint.clone(), caller.clone()),
    };
    let running = AssertUnwindSafe(case(&world)).catch_unwind();
    let result = match tokio::time::timeout(CASE_TIMEOUT, running).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("the case panicked")),
        Err(_) => Err(anyhow::anyhow!("the case did not end within {CASE_TIMEOUT:?}")),
    };
    world.close().await;
    result
}
