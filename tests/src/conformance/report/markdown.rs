//! The page `docs/FIDELITY.md`: one table per section of the catalogue.

use super::{CaseOutcome, CaseVerdict, ConformanceReport};
use crate::conformance::catalogue::{self, Section};

const INTRODUCTION: &str = "# Fidelity to API Gateway

Behaviour of API Gateway's WebSocket APIs and of this gateway, row by row. The conformance suite generates this page
(`make conformance`): it runs every case over HTTP and WebSocket against the gateway with the quota profile `aws` and
probe handlers. Do not edit the page by hand.

**Known** is the evidence for the behaviour of API Gateway: *documented* (AWS documentation, service models or published
code), *reported* (captured or observed by users), *inferred* (a deduction), *unknown* (no source; the row then states the
choice made here).

**Verdict**: *holds*; *chosen* (API Gateway's behaviour is unknown); *differs on purpose*, with the reason; *not yet*, with
the missing part; *not runnable here* and *not applicable*, with the reason. The verdict is for in-process handlers; the
same rows run with the handlers as a Lambda executable on the Runtime API, whose verdict follows if it is different. Cases
that use shorter times run the same code with the idle timeout, the lifetime or another timeout set to milliseconds.
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
    let text = |verdict: &CaseVerdict| {
        let reason = verdict.reason().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{}", verdict.word(), escape(&reason))
    };
    let executable = executable.map(|verdict| format!("; as an executable {}", text(verdict))).unwrap_or_default();
    let cells = [row.id, row.aws, row.mark.as_str(), row.ours].map(escape);
    format!("| {} | {}{executable} |\n", cells.join(" | "), text(&outcome.verdict))
}

/// Escapes bars and line breaks, which would end the table cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
