//! Reports of a comparison as a table and as JSON: medians, ratios, and whether each target holds.
//!
//! A target whose value is missing, or whose server did not run, is reported as `not measured`.

use serde_json::{Value, json};

use super::comparison::{Comparison, ComparisonResult, ContenderResult, Metric, MetricTarget};

/// Column width in characters: the longest name with its role, and two spaces.
const COLUMN: usize = 30;

/// Ratio of the maximum to the minimum of a server's rounds above which a result is called unsteady. On an idle host
/// the same server varies by a tenth, at most by a fifth; more means that other processes ran, and the ratio is
/// unreliable.
const MAX_STEADY_RATIO: f64 = 1.2;

/// Verdict on a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TargetVerdict {
    /// The target holds, with this value.
    Holds(f64),
    /// The target is missed, with this value.
    Misses(f64),
    /// No value to compare.
    NotMeasured,
}

impl MetricTarget {
    /// Evaluates our value, relative to the peer's if the target is a ratio.
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

/// Formats the comparison as a table with one line per target.
pub fn table(comparison: &Comparison, outcome: &ComparisonResult) -> String {
    let mut lines = vec![format!("{}: {}", comparison.name, comparison.title)];
    let names = contenders(outcome).map(|(result, role)| format!("{:>COLUMN$}", format!("{} ({role})", result.name)));
    lines.push(format!("  {:<34}{}", "medians, and ratio to the peer", names.collect::<String>()));
    for metric in &comparison.metrics {
        let peer = outcome.peer.median(metric.field);
        let cells = contenders(outcome).map(|(result, _)| cell(result.median(metric.field), peer));
        lines.push(format!("  {:<34}{}", metric.label, cells.collect::<String>()));
    }
    lines.extend(comparison.metrics.iter().filter_map(|metric| line(metric, outcome)));
    lines.join("\n") + "\n"
}

fn contenders(outcome: &ComparisonResult) -> impl Iterator<Item = (&ContenderResult, &'static str)> {
    let others = outcome.others.iter().map(|result| (result, "other"));
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
    Some(match evaluate_target(metric, outcome)? {
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

/// Returns the larger spread of the rounds of the peer and of our server, if the target is a ratio of the two.
fn spread(metric: &Metric, outcome: &ComparisonResult) -> Option<f64> {
    if let MetricTarget::AtMost(_) = metric.target? {
        return None;
    }
    std::iter::once(&outcome.peer)
        .chain(&outcome.ours)
        .filter_map(|result| result.range(metric.field))
        .map(|(least, greatest)| greatest / least)
        .max_by(f64::total_cmp)
}

fn evaluate_target(metric: &Metric, outcome: &ComparisonResult) -> Option<TargetVerdict> {
    let ours = outcome.ours.as_ref().and_then(|ours| ours.median(metric.field));
    Some(metric.target?.evaluate(ours, outcome.peer.median(metric.field)))
}

/// Returns the comparison as JSON: every report, the medians with their ranges, the verdicts.
pub fn record(comparison: &Comparison, outcome: &ComparisonResult) -> Value {
    let contenders: Vec<Value> =
        contenders(outcome).map(|(result, role)| contender(comparison, result, role)).collect();
    let verdicts: Vec<Value> = comparison.metrics.iter().filter_map(|metric| verdict_json(metric, outcome)).collect();
    json!({"name": comparison.name, "title": comparison.title, "contenders": contenders, "targets": verdicts})
}

fn contender(comparison: &Comparison, result: &ContenderResult, role: &str) -> Value {
    let metrics = comparison.metrics.iter().map(|metric| {
        let (least, greatest) = result.range(metric.field).unzip();
        let median = result.median(metric.field);
        (metric.field.to_owned(), json!({"median": median, "min": least, "max": greatest}))
    });
    let metrics: serde_json::Map<String, Value> = metrics.collect();
    json!({"name": result.name, "role": role, "metrics": metrics, "reports": result.reports})
}

fn verdict_json(metric: &Metric, outcome: &ComparisonResult) -> Option<Value> {
    let target = metric.target?.describe(outcome.peer.name);
    let (holds, value) = match evaluate_target(metric, outcome)? {
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

    fn comparison(target: MetricTarget) -> Comparison {
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

    fn result(name: &'static str, costs: &[f64]) -> ContenderResult {
        ContenderResult { name, reports: costs.iter().map(|cost| json!({"cost": cost})).collect() }
    }

    #[test]
    fn a_value_equal_to_the_bound_holds() {
        assert_eq!(MetricTarget::RatioAtMost(0.5).evaluate(Some(1.0), Some(2.0)), TargetVerdict::Holds(0.5));
        assert_eq!(MetricTarget::RatioAtLeast(0.9).evaluate(Some(1.0), Some(2.0)), TargetVerdict::Misses(0.5));
        assert_eq!(MetricTarget::AtMost(100.0).evaluate(Some(101.0), None), TargetVerdict::Misses(101.0));
        assert_eq!(MetricTarget::RatioAtMost(2.0).evaluate(Some(1.0), Some(0.0)), TargetVerdict::NotMeasured);
        assert_eq!(MetricTarget::AtMost(1.0).evaluate(None, Some(1.0)), TargetVerdict::NotMeasured);
    }

    #[test]
    fn the_table_shows_medians_ratios_and_verdicts() {
        let peer = result("warp", &[8.0, 10.0, 9.0]);
        let outcome =
            ComparisonResult { peer, ours: Some(result("shim", &[3.0, 2.7])), others: vec![result("x", &[])] };
        let table = table(&comparison(MetricTarget::RatioAtMost(0.4)), &outcome);
        assert!(table.contains("9.00 (1.00)") && table.contains("2.85 (0.32)"), "{table}");
        assert!(table.contains("holds         cost: at most 0.40 of warp: 0.32"), "{table}");
    }

    #[test]
    fn a_ratio_of_unsteady_rounds_is_marked() {
        let comparison = comparison(MetricTarget::RatioAtMost(1.0));
        let outcome = |ours: &[f64]| ComparisonResult {
            peer: result("warp", &[10.0, 10.5]),
            ours: Some(result("shim", ours)),
            others: Vec::new(),
        };
        assert!(!table(&comparison, &outcome(&[5.0, 5.9])).contains("UNSTEADY"));
        let unsteady = outcome(&[5.0, 7.5]);
        assert!(table(&comparison, &unsteady).contains("UNSTEADY: rounds differ by a factor of 1.50"));
        assert_eq!(record(&comparison, &unsteady)["targets"][0]["spread"], 1.5);
    }

    #[test]
    fn without_our_server_no_target_holds() {
        let outcome = ComparisonResult { peer: result("warp", &[8.0]), ours: None, others: Vec::new() };
        let comparison = comparison(MetricTarget::RatioAtMost(9.0));
        assert!(table(&comparison, &outcome).contains("not measured"));
        assert_eq!(record(&comparison, &outcome)["targets"][0]["holds"], Value::Null);
    }
}
