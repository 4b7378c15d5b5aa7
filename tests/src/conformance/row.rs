//! A row: what API Gateway does, how sure that is, and how this gateway is checked against it.
//!
//! Invariant: a row that cannot be checked carries its reason; there is no way to write one without.

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::world::CaseWorld;

/// How well a statement about API Gateway is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// AWS says so, in documentation, a service model or published code.
    Documented,
    /// Users saw or captured it.
    Reported,
    /// A deduction.
    Inferred,
    /// Nobody is known to have looked.
    Unknown,
}

/// A case: passes, or fails with what was seen instead. [`NotRunnable`] among its errors says that it could not run here.
pub type ConformanceCase = for<'w> fn(&'w CaseWorld) -> BoxFuture<'w, anyhow::Result<()>>;

/// How a row is checked.
#[derive(Clone, Copy)]
pub enum RowCheck {
    /// The case shows that this gateway does the same.
    Holds(ConformanceCase),
    /// This gateway does something else on purpose, which the case shows.
    Differs {
        /// Why.
        reason: &'static str,
        /// What shows the difference.
        case: ConformanceCase,
    },
    /// The statement is about something that this gateway does not have.
    NotApplicable(&'static str),
    /// It cannot be checked against an in-process gateway.
    NotRunnable(&'static str),
    /// This gateway does not do it yet.
    NotYet(&'static str),
}

/// One row.
#[derive(Clone, Copy)]
pub struct ConformanceRow {
    /// The catalogue's id; rows of its tables are called `SECTION-NUMBER`.
    pub id: &'static str,
    /// How well it is known.
    pub mark: EvidenceLevel,
    /// What API Gateway does.
    pub aws: &'static str,
    /// What this gateway does.
    pub ours: &'static str,
    /// How that is checked.
    pub check: RowCheck,
}

/// Why a case could not run against the endpoint at hand. Not a failure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotRunnable(pub String);

/// What [`ConformanceRow::ours`] says when there is nothing to add.
pub const SAME_BEHAVIOR: &str = "the same";

impl ConformanceRow {
    /// A row whose case shows that this gateway does what API Gateway does.
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

    /// A row whose case shows what this gateway does instead.
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

    /// A row about something that this gateway does not have.
    #[must_use]
    pub const fn not_applicable(id: &'static str, mark: EvidenceLevel, aws: &'static str, why: &'static str) -> Self {
        Self { id, mark, aws, ours: "nothing to compare", check: RowCheck::NotApplicable(why) }
    }

    /// A row that cannot be checked here.
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

    /// A row that this gateway does not keep to yet.
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
    /// The word for it.
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

/// A case that could not run, as an error to return from it.
#[must_use]
pub fn not_runnable(why: impl Into<String>) -> anyhow::Error {
    NotRunnable(why.into()).into()
}
