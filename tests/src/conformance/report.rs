//! Report of a run: a table for terminals, JSON, and the page `docs/FIDELITY.md`.
//!
//! The page contains only results of the run, and two runs with the same results write the same bytes.

mod json;
mod markdown;

use std::fmt;

use super::row::{ConformanceRow, EvidenceLevel};
use super::wire::endpoint_address::EndpointAddress;

/// Maximum length of a reason in the table; the JSON has the complete text.
const MAX_REASON_CHARS: usize = 400;

/// Verdict of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseVerdict {
    /// The gateway behaves like API Gateway.
    Holds,
    /// The behaviour of API Gateway is unknown; the gateway behaves as the row states.
    Chosen,
    /// The gateway differs on purpose, with the reason.
    Differs(String),
    /// The case could not run against this endpoint, with the reason.
    NotRunnable(String),
    /// The row describes something that the gateway does not have.
    NotApplicable(String),
    /// The gateway does not implement the row yet, with its present behaviour.
    NotYet(String),
    /// The gateway behaves differently, with the observation.
    Fails(String),
}

/// A row with its verdict.
#[derive(Clone)]
pub struct CaseOutcome {
    /// Row.
    pub row: ConformanceRow,
    /// Verdict.
    pub verdict: CaseVerdict,
}

/// Outcomes of a run.
pub struct ConformanceReport {
    /// Endpoint; `None` for gateways of this repository.
    pub endpoint: Option<EndpointAddress>,
    /// One outcome per row, in the order of the catalogue.
    pub outcomes: Vec<CaseOutcome>,
    /// Outcomes with handlers as Lambda executables, if they ran.
    pub executables: Option<Vec<CaseOutcome>>,
}

impl CaseVerdict {
    /// Returns the word for the verdict.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Chosen => "chosen",
            Self::Differs(_) => "differs on purpose",
            Self::NotRunnable(_) => "not runnable here",
            Self::NotApplicable(_) => "not applicable",
            Self::NotYet(_) => "not yet",
            Self::Fails(_) => "FAILS",
        }
    }

    /// Returns the reason of the verdict.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Holds | Self::Chosen => None,
            Self::Differs(why)
            | Self::NotRunnable(why)
            | Self::NotApplicable(why)
            | Self::NotYet(why)
            | Self::Fails(why) => Some(why),
        }
    }
}

impl fmt::Debug for CaseOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome").field("id", &self.row.id).field("verdict", &self.verdict).finish()
    }
}

impl ConformanceReport {
    /// Returns the failed rows.
    pub fn failures(&self) -> impl Iterator<Item = &CaseOutcome> {
        let all = self.outcomes.iter().chain(self.executables.iter().flatten());
        all.filter(|outcome| matches!(outcome.verdict, CaseVerdict::Fails(_)))
    }

    /// Returns whether a row failed whose expected behaviour is documented or reported.
    #[must_use]
    pub fn has_documented_failures(&self) -> bool {
        self.failures().any(|outcome| matches!(outcome.row.mark, EvidenceLevel::Documented | EvidenceLevel::Reported))
    }

    /// Returns the number of outcomes per verdict, in a fixed order, without zeros.
    #[must_use]
    pub fn counts(outcomes: &[CaseOutcome]) -> Vec<(&'static str, usize)> {
        let kinds = [
            CaseVerdict::Holds,
            CaseVerdict::Chosen,
            CaseVerdict::Differs(String::new()),
            CaseVerdict::NotYet(String::new()),
            CaseVerdict::NotRunnable(String::new()),
            CaseVerdict::NotApplicable(String::new()),
            CaseVerdict::Fails(String::new()),
        ];
        let count = |word| outcomes.iter().filter(|outcome| outcome.verdict.word() == word).count();
        kinds.iter().map(|kind| (kind.word(), count(kind.word()))).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the number of rows per verdict, on one line per handler mode.
    #[must_use]
    pub fn summary(&self) -> String {
        let line = |outcomes: &[CaseOutcome]| {
            let counts = Self::counts(outcomes).into_iter().map(|(word, count)| format!("{count} {word}"));
            format!("{} rows: {}", outcomes.len(), counts.collect::<Vec<_>>().join(", "))
        };
        match &self.executables {
            None => line(&self.outcomes),
            Some(executables) => {
                format!("In-process handlers: {}\nLambda executables: {}", line(&self.outcomes), line(executables))
            }
        }
    }

    /// Returns the verdict with handlers as Lambda executables, if it differs.
    fn as_executable(&self, index: usize) -> Option<&CaseVerdict> {
        let verdict = &self.executables.as_ref()?.get(index)?.verdict;
        (*verdict != self.outcomes[index].verdict).then_some(verdict)
    }

    /// Returns the table for a terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let line = |(index, outcome): (usize, &CaseOutcome)| {
            let shorten = |why: &str| why.chars().take(MAX_REASON_CHARS).collect::<String>();
            let reason = outcome.verdict.reason().map(|why| format!(": {}", shorten(why))).unwrap_or_default();
            let executable = self.as_executable(index).map(|verdict| {
                let reason = verdict.reason().map(|why| format!(": {}", shorten(why))).unwrap_or_default();
                format!(" | as an executable: {}{reason}", verdict.word())
            });
            let (id, mark, word) = (outcome.row.id, outcome.row.mark.as_str(), outcome.verdict.word());
            format!("{id:<9} {mark:<10} {word}{reason}{}\n", executable.unwrap_or_default())
        };
        let lines: String = self.outcomes.iter().enumerate().map(line).collect();
        format!("{lines}\n{}\n", self.summary())
    }

    /// Returns the report as JSON.
    ///
    /// # Errors
    /// Serialization fails, which no report of this type can cause.
    pub fn json(&self) -> serde_json::Result<String> {
        json::render(self)
    }

    /// Returns the page `docs/FIDELITY.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }
}
