//! A row of the catalogue: behaviour of API Gateway, its evidence, and the check of this gateway.
//!
//! Every row without a case has a reason; the constructors require it.

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::world::CaseWorld;

/// Evidence for a statement about API Gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// Stated by AWS, in documentation, a service model or published code.
    Documented,
    /// Observed or captured by users.
    Reported,
    /// A deduction.
    Inferred,
    /// No source is known.
    Unknown,
}

/// A case: passes, or fails with the observation. The error [`NotRunnableError`] means that it could not run here.
pub type ConformanceCase = for<'w> fn(&'w CaseWorld) -> BoxFuture<'w, anyhow::Result<()>>;

/// Check of a row.
#[derive(Clone, Copy)]
pub enum RowCheck {
    /// The case shows that this gateway behaves the same.
    Holds(ConformanceCase),
    /// This gateway differs on purpose, as the case shows.
    Differs {
        /// Reason for the difference.
        reason: &'static str,
        /// Case that shows the difference.
        case: ConformanceCase,
    },
    /// The row describes something that this gateway does not have, with the reason.
    NotApplicable(&'static str),
    /// The row cannot be checked against an in-process gateway, with the reason.
    NotRunnable(&'static str),
    /// This gateway does not implement the row yet.
    NotYet(&'static str),
}

/// Row of the catalogue.
#[derive(Clone, Copy)]
pub struct ConformanceRow {
    /// Id in the catalogue; table rows without an id are called `SECTION-NUMBER`.
    pub id: &'static str,
    /// Evidence for the statement about API Gateway.
    pub mark: EvidenceLevel,
    /// Behaviour of API Gateway.
    pub aws: &'static str,
    /// Behaviour of this gateway.
    pub ours: &'static str,
    /// Check of the row.
    pub check: RowCheck,
}

/// Reason why a case could not run against an endpoint. Not a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRunnableError(pub String);

/// Text of [`ConformanceRow::ours`] for identical behaviour.
pub const SAME_BEHAVIOR: &str = "the same";

impl ConformanceRow {
    /// Returns a row whose case shows that this gateway behaves like API Gateway.
    #[must_use]
    pub const fn holds(
        id: &'static str,
        mark: EvidenceLevel,
        aws: &'static str,
        ours: &'static str,
        case: ConformanceCase,
    ) -> Self {
        Self { id, mark, aws, ours, check: RowCheck::Holds(case) }
    }

    /// Returns a row whose case shows a deliberate difference.
    #[must_use]
    pub const fn differs(
        id: &'static str,
        mark: EvidenceLevel,
        aws: &'static str,
        ours: &'static str,
        reason: &'static str,
        case: ConformanceCase,
    ) -> Self {
        Self { id, mark, aws, ours, check: RowCheck::Differs { reason, case } }
    }

    /// Returns a row about something that this gateway does not have.
    #[must_use]
    pub const fn not_applicable(id: &'static str, mark: EvidenceLevel, aws: &'static str, why: &'static str) -> Self {
        Self { id, mark, aws, ours: "nothing to compare", check: RowCheck::NotApplicable(why) }
    }

    /// Returns a row that cannot be checked here.
    #[must_use]
    pub const fn not_runnable(
        id: &'static str,
        mark: EvidenceLevel,
        aws: &'static str,
        ours: &'static str,
        why: &'static str,
    ) -> Self {
        Self { id, mark, aws, ours, check: RowCheck::NotRunnable(why) }
    }

    /// Returns a row that this gateway does not implement yet.
    #[must_use]
    pub const fn not_yet(
        id: &'static str,
        mark: EvidenceLevel,
        aws: &'static str,
        ours: &'static str,
        why: &'static str,
    ) -> Self {
        Self { id, mark, aws, ours, check: RowCheck::NotYet(why) }
    }
}

impl EvidenceLevel {
    /// Returns the word for the evidence.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Reported => "reported",
            Self::Inferred => "inferred",
            Self::Unknown => "unknown",
        }
    }
}

/// Returns the error of a case that could not run.
#[must_use]
pub fn not_runnable(why: impl Into<String>) -> anyhow::Error {
    NotRunnableError(why.into()).into()
}
