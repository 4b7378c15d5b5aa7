//! What came out of a contest, for people (a table) and for programs (JSON): medians, ratios, and which targets hold.
//!
//! A target whose value is missing, or whose server did not take part, is `not measured`, never held.

use serde_json::{Value, json};

use super::comparison::{Comparison, ComparisonResult, ContenderResult, Metric, MetricTarget};

/// Characters of a column: the longest name with its role, and two spaces.
const COLUMN: usize = 30;

/// Greatest divided by least of an entrant's rounds above which a ratio is called unsteady. On a quiet machine the same
/// server varies by a tenth, by a fifth at worst; more means that something else ran, and the ratio says little.
const MAX_STEADY_RATIO: f64 = 1.2;

/// Whether a target holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetVerdict {
    /// It does, with this value.
    Holds(f64),
    /// It does not, with this value.
    Misses(f64),
    /// There is nothing to judge.
    NotMeasured,
}

impl MetricTarget {
    /// Judges ours, beside the peer where the target is a ratio.
    pub fn evaluate(self, ours: Option<f64>, peer: Option<f64>) -> TargetVerdict {
        let ratio = ours.zip(peer).filter(|(_, peer)| *peer > 0.0).map(|(ours, peer)| ours / peer);
        let (value, holds) = match self {
            Self::RatioAtMost(bound) => (ratio, ratio.is_some_and(|ratio| ratio <= bound)),
            Self::RatioAtLeast(bound) => (ratio, ratio.is_some_and(|ratio| ratio >= bound)),
            Self::AtMost(bound) => (ours, ours.is_some_and(|ours| ours <= bound)),
        };
        match value {
            None => TargetVerdict::NotMeasured,
            Some(value) if holds => TargetVerdict::Holds(value),
            Some(value) => TargetVerdict::Misses(value),
        }
    }

    fn describe(self, peer: &str) -> String {
        match self {
            Self::RatioAtMost(bound) => format!("at most {bound:.2} of {peer}"),
            Self::RatioAtLeast(bound) => format!("at least {bound:.2} of {peer}"),
            Self::AtMost(bound) => format!("at most {bound}"),
        }
    }
}

/// The contest's table and a line for each target.
pub fn table(contest: &Comparison, outcome: &ComparisonResult) -> String {
    let mut lines = vec![format!("{}: {}", contest.name, contest.title)];
    let names = entrants(outcome).map(|(standing, role)| format!("{:>COLUMN$}", format!("{} ({role})", standing.name)));
    lines.push(format!("  {:<34}{}", "medians, and ratio to the peer", names.collect::<String>()));
    for metric in &contest.metrics {
        let peer = outcome.peer.median(metric.field);
        let cells = entrants(outcome).map(|(standing, _)| cell(standing.median(metric.field), peer));
        lines.push(format!("  {:<34}{}", metric.label, cells.collect::<String>()));
    }
    lines.extend(contest.metrics.iter().filter_map(|metric| line(metric, outcome)));
    lines.join("\n") + "\n"
}

fn entrants(outcome: &ComparisonResult) -> impl Iterator<Item = (&ContenderResult, &'static str)> {
    let others = outcome.others.iter().map(|standing| (standing, "other"));
    std::iter::once((&outcome.peer, "peer")).chain(outcome.ours.iter().map(|ours| (ours, "ours"))).chain(others)
}

fn cell(value: Option<f64>, peer: Option<f64>) -> String {
    let Some(value) = value else { return format!("{:>COLUMN$}", "-") };
    let ratio = peer.filter(|peer| *peer > 0.0).map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", value / peer));
    let digits = if value.abs() < 100.0 { 2 } else { 0 };
    format!("{:>COLUMN$}", format!("{value:.digits$} ({ratio})"))
}

fn line(metric: &Metric, outcome: &ComparisonResult) -> Option<String> {
    let target = metric.target?;
    let what = format!("{}: {}", metric.label, target.describe(outcome.peer.name));
    Some(match judge(metric, outcome)? {
        TargetVerdict::Holds(value) => format!("  holds         {what}: {value:.2}{}", unsteady_note(metric, outcome)),
        TargetVerdict::Misses(value) => format!("  MISSES        {what}: {value:.2}{}", unsteady_note(metric, outcome)),
        TargetVerdict::NotMeasured => format!("  not measured  {what}"),
    })
}

fn unsteady_note(metric: &Metric, outcome: &ComparisonResult) -> String {
    match spread(metric, outcome).filter(|spread| *spread > MAX_STEADY_RATIO) {
        Some(spread) => {
            format!(" (UNSTEADY: rounds differ by a factor of {spread:.2}, measure again on a quiet machine)")
        }
        None => String::new(),
    }
}

/// How far the rounds of the peer or of ours lie apart, whichever is worse, where the target is a ratio of the two.
fn spread(metric: &Metric, outcome: &ComparisonResult) -> Option<f64> {
    if let MetricTarget::AtMost(_) = metric.target? {
        return None;
    }
    std::iter::once(&outcome.peer)
        .chain(&outcome.ours)
        .filter_map(|standing| standing.range(metric.field))
        .map(|(least, greatest)| greatest / least)
        .max_by(f64::total_cmp)
}

fn judge(metric: &Metric, outcome: &ComparisonResult) -> Option<TargetVerdict> {
    let ours = outcome.ours.as_ref().and_then(|ours| ours.median(metric.field));
    Some(metric.target?.evaluate(ours, outcome.peer.median(metric.field)))
}

/// The contest as JSON: every report, the medians with their ranges, the verdicts.
pub fn record(contest: &Comparison, outcome: &ComparisonResult) -> Value {
    let entrants: Vec<Value> = entrants(outcome).map(|(standing, role)| entrant(contest, standing, role)).collect();
    let verdicts: Vec<Value> = contest.metrics.iter().filter_map(|metric| verdict(metric, outcome)).collect();
    json!({"name": contest.name, "title": contest.title, "entrants": entrants, "targets": verdicts})
}

fn entrant(contest: &Comparison, standing: &ContenderResult, role: &str) -> Value {
    let metrics = contest.metrics.iter().map(|metric| {
        let (least, greatest) = standing.range(metric.field).unzip();
        let median = standing.median(metric.field);
        (metric.field.to_owned(), json!({"median": median, "least": least, "greatest": greatest}))
    });
    let metrics: serde_json::Map<String, Value> = metrics.collect();
    json!({"name": standing.name, "role": role, "metrics": metrics, "reports": standing.reports})
}

fn verdict(metric: &Metric, outcome: &ComparisonResult) -> Option<Value> {
    let target = metric.target?.describe(outcome.peer.name);
    let (holds, value) = match judge(metric, outcome)? {
        TargetVerdict::Holds(value) => (Some(true), Some(value)),
        TargetVerdict::Misses(value) => (Some(false), Some(value)),
        TargetVerdict::NotMeasured => (None, None),
    };
    let spread = spread(metric, outcome);
    Some(json!({"metric": metric.field, "target": target, "value": value, "holds": holds, "spread": spread}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::bench::comparison::Contender;

    fn contest(target: MetricTarget) -> Comparison {
        let server =
            crate::load::bench::child::BenchmarkServer { name: "p", program: "p".into(), arguments: Vec::new() };
        Comparison {
            name: "c",
            title: "t".into(),
            load: Vec::new(),
            peer: Contender { server, load: Vec::new() },
            ours: None,
            others: Vec::new(),
            metrics: vec![Metric { label: "cost", field: "cost", target: Some(target) }],
        }
    }

    fn standing(name: &'static str, costs: &[f64]) -> ContenderResult {
        ContenderResult { name, reports: costs.iter().map(|cost| json!({"cost": cost})).collect() }
    }

    #[test]
    fn bounds_belong_to_what_holds() {
        assert_eq!(MetricTarget::RatioAtMost(0.5).evaluate(Some(1.0), Some(2.0)), TargetVerdict::Holds(0.5));
        assert_eq!(MetricTarget::RatioAtLeast(0.9).evaluate(Some(1.0), Some(2.0)), TargetVerdict::Misses(0.5));
        assert_eq!(MetricTarget::AtMost(100.0).evaluate(Some(101.0), None), TargetVerdict::Misses(101.0));
        assert_eq!(MetricTarget::RatioAtMost(2.0).evaluate(Some(1.0), Some(0.0)), TargetVerdict::NotMeasured);
        assert_eq!(MetricTarget::AtMost(1.0).evaluate(None, Some(1.0)), TargetVerdict::NotMeasured);
    }

    #[test]
    fn the_table_tells_medians_ratios_and_verdicts() {
        let peer = standing("warp", &[8.0, 10.0, 9.0]);
        let outcome =
            ComparisonResult { peer, ours: Some(standing("shim", &[3.0, 2.7])), others: vec![standing("x", &[])] };
        let table = table(&contest(MetricTarget::RatioAtMost(0.4)), &outcome);
        assert!(table.contains("9.00 (1.00)") && table.contains("2.85 (0.32)"), "{table}");
        assert!(table.contains("holds         cost: at most 0.40 of warp: 0.32"), "{table}");
    }

    #[test]
    fn a_ratio_of_unsteady_rounds_says_so() {
        let contest = contest(MetricTarget::RatioAtMost(1.0));
        let outcome = |ours: &[f64]| ComparisonResult {
            peer: standing("warp", &[10.0, 10.5]),
            ours: Some(standing("shim", ours)),
            others: Vec::new(),
        };
        assert!(!table(&contest, &outcome(&[5.0, 5.9])).contains("UNSTEADY"));
        let unsteady = outcome(&[5.0, 7.5]);
        assert!(table(&contest, &unsteady).contains("UNSTEADY: rounds differ by a factor of 1.50"));
        assert_eq!(record(&contest, &unsteady)["targets"][0]["spread"], 1.5);
    }

    #[test]
    fn without_ours_nothing_is_said_to_hold() {
        let outcome = ComparisonResult { peer: standing("warp", &[8.0]), ours: None, others: Vec::new() };
        let contest = contest(MetricTarget::RatioAtMost(9.0));
        assert!(table(&contest, &outcome).contains("not measured"));
        assert_eq!(record(&contest, &outcome)["targets"][0]["holds"], Value::Null);
    }
}
