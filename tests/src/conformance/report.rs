//! What became of the rows: a table for people, JSON for machines, and the page `docs/FIDELITY.md`.
//!
//! Invariant: the page says nothing that a run did not show, and two runs with the same outcome write the same bytes.

mod json;
mod markdown;

use std::fmt;

use super::row::{ConformanceRow, EvidenceLevel};
use super::wire::endpoint_address::EndpointAddress;

/// Room for a reason in the table; the JSON has all of it.
const MAX_REASON_CHARS: usize = 400;

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseVerdict {
    /// The gateway does what API Gateway does.
    Holds,
    /// It is not known what API Gateway does; the gateway does what the row says.
    Chosen,
    /// The gateway does something else on purpose; the text says why.
    Differs(String),
    /// The case could not run against this endpoint; the text says why.
    NotRunnable(String),
    /// The row is about something that the gateway does not have; the text says what.
    NotApplicable(String),
    /// The gateway does not do it yet; the text says what it does.
    NotYet(String),
    /// The gateway does something else; the text says what was seen.
    Fails(String),
}

/// A row and what became of it.
#[derive(Clone)]
pub struct CaseOutcome {
    /// The row.
    pub row: ConformanceRow,
    /// What became of it.
    pub verdict: CaseVerdict,
}

/// The outcome of a run.
pub struct ConformanceReport {
    /// The endpoint; `None` for gateways of this repository.
    pub endpoint: Option<EndpointAddress>,
    /// One per row, in the catalogue's order.
    pub outcomes: Vec<CaseOutcome>,
    /// The same with handlers that run as Lambda executables, if they ran so too.
    pub executables: Option<Vec<CaseOutcome>>,
}

impl CaseVerdict {
    /// The word for it.
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

    /// The text that belongs to it.
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
    /// The rows that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CaseOutcome> {
        let all = self.outcomes.iter().chain(self.executables.iter().flatten());
        all.filter(|outcome| matches!(outcome.verdict, CaseVerdict::Fails(_)))
    }

    /// Whether a row failed of which it is known what API Gateway does.
    #[must_use]
    pub fn has_documented_failures(&self) -> bool {
        self.failures().any(|outcome| matches!(outcome.row.mark, EvidenceLevel::Documented | EvidenceLevel::Reported))
    }

    /// How many of `outcomes` have a verdict, by its word, in a fixed order; verdicts that none has are left out.
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

    /// One line, or one per way in which the handlers ran: how many rows there are, and what became of them.
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

    /// What became of a row whose handlers ran as Lambda executables, where that is something else.
    fn as_executable(&self, index: usize) -> Option<&CaseVerdict> {
        let verdict = &self.executables.as_ref()?.get(index)?.verdict;
        (*verdict != self.outcomes[index].verdict).then_some(verdict)
    }

    /// The table for a terminal.
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

    /// The report as JSON.
    ///
    /// # Errors
    /// None that a report of this kind can cause.
    pub fn json(&self) -> serde_json::Result<String> {
        json::render(self)
    }

    /// The page `docs/FIDELITY.md`.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::render(self)
    }
}
