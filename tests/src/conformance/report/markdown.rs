//! The page: one table per section of the catalogue.

use super::{CaseOutcome, CaseVerdict, ConformanceReport};
use crate::conformance::catalogue::{self, Section};

const INTRODUCTION: &str = "# Fidelity to API Gateway

What API Gateway's WebSocket APIs do, and what this gateway does, row by row. The page is written by the conformance suite
(`make conformance`), which runs every case over HTTP and WebSocket against the gateway with the quota profile `aws` and
probe handlers behind it; nobody edits it by hand.

**Known** says how sure the statement about API Gateway is: *documented* (AWS documentation, service models or published
code), *reported* (captured or seen by users), *inferred* (a deduction), *unknown* (nobody is known to have looked; the row
then says what was chosen here).

**Verdict**: *holds*; *chosen* (API Gateway's behaviour is unknown); *differs on purpose*, with the reason; *not yet*, with
what is missing; *not runnable here* and *not applicable*, with the reason. It is that of in-process handlers; the same rows
run with the handlers as a Lambda executable behind the Runtime API, and where that gives another verdict, it stands behind
the first. Rows whose time was compressed run the same code
with the idle time and the lifetime set to milliseconds.
";

pub(super) fn render(report: &ConformanceReport) -> String {
    let sections = catalogue::SECTIONS.iter().map(|section| table(report, section));
    let summary: Vec<_> = report.summary().lines().map(|line| format!("**{line}.**")).collect();
    format!("{INTRODUCTION}\n{}\n{}", summary.join("\n\n"), sections.collect::<String>())
}

fn table(report: &ConformanceReport, section: &Section) -> String {
    let ids: Vec<_> = section.ids().collect();
    let outcomes = report.outcomes.iter().enumerate().filter(|(_, outcome)| ids.contains(&outcome.row.id));
    let rows = outcomes.map(|(index, outcome)| line(outcome, report.as_executable(index)));
    let header = "| id | API Gateway | known | here | verdict |\n|---|---|---|---|---|\n";
    format!("\n## {}\n\n{header}{}", section.title, rows.collect::<String>())
}

fn line(outcome: &CaseOutcome, executable: Option<&CaseVerdict>) -> String {
    let row = &outcome.row;
    let shown = |verdict: &CaseVerdict| {
        let reason = verdict.reason().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{}", verdict.word(), escape(&reason))
    };
    let executable = executable.map(|verdict| format!("; as an executable {}", shown(verdict))).unwrap_or_default();
    let cells = [row.id, row.aws, row.mark.as_str(), row.ours].map(escape);
    format!("| {} | {}{executable} |\n", cells.join(" | "), shown(&outcome.verdict))
}

/// A bar would end the cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
