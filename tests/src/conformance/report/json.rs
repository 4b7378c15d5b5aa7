//! The report as JSON.

use serde::Serialize;

use super::ConformanceReport;
use crate::conformance::row::EvidenceLevel;

#[derive(Serialize)]
struct ReportDocument<'r> {
    endpoint: Option<&'r str>,
    summary: String,
    rows: Vec<ReportEntry<'r>>,
}

#[derive(Serialize)]
struct ReportEntry<'r> {
    id: &'r str,
    aws: &'r str,
    mark: EvidenceLevel,
    ours: &'r str,
    verdict: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    /// Verdict with handlers as Lambda executables.
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<&'r str>,
}

pub(super) fn render(report: &ConformanceReport) -> serde_json::Result<String> {
    let rows = report.outcomes.iter().enumerate().map(|(index, outcome)| ReportEntry {
        id: outcome.row.id,
        aws: outcome.row.aws,
        mark: outcome.row.mark,
        ours: outcome.row.ours,
        verdict: outcome.verdict.word(),
        reason: outcome.verdict.reason(),
        executable: report.executables.as_ref().and_then(|all| all.get(index)).map(|outcome| outcome.verdict.word()),
    });
    let endpoint = report.endpoint.as_ref().map(|endpoint| endpoint.authority.as_str());
    serde_json::to_string_pretty(&ReportDocument { endpoint, summary: report.summary(), rows: rows.collect() })
}
