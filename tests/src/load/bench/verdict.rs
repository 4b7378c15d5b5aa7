//! What came out of a contest, for people (a table) and for programs (JSON): medians, ratios, and which targets hold.
//!
//! A target whose value is missing, or whose server did not take part, is `not measured`, never held.

use serde_json::{Value, json};

use super::contest::{Contest, Metric, Outcome, Standing, Target};

/// Characters of a column: the longest name with its role, and two spaces.
const COLUMN: usize = 30;

/// Greatest divided by least of an entrant's rounds above which a ratio is called unsteady. On a quiet machine the same
/// server varies by a tenth, by a fifth at worst; more means that something else ran, and the ratio says little.
const STEADY: f64 = 1.2;

/// Whether a target holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It does, with this value.
    Holds(f64),
    /// It does not, with this value.
    Misses(f64),
    /// There is nothing to judge.
    NotMeasured,
}

impl Target {
    /// Judges ours, beside the peer where the target is a ratio.
    pub fn judge(self, ours: Option<f64>, peer: Option<f64>) -> Verdict {
        let ratio = ours.zip(peer).filter(|(_, peer)| *peer > 0.0).map(|(ours, peer)| ours / peer);
        let (value, holds) = match self {
            Self::RatioAtMost(bound) => (ratio, ratio.is_some_and(|ratio| ratio <= bound)),
            Self::RatioAtLeast(bound) => (ratio, ratio.is_some_and(|ratio| ratio >= bound)),
            Self::AtMost(bound) => (ours, ours.is_some_and(|ours| ours <= bound)),
        };
        match value {
            None => Verdict::NotMeasured,
            Some(value) if holds => Verdict::Holds(value),
            Some(value) => Verdict::Misses(value),
        }
    }

    fn words(self, peer: &str) -> String {
        match self {
            Self::RatioAtMost(bound) => format!("at most {bound:.2} of {peer}"),
            Self::RatioAtLeast(bound) => format!("at least {bound:.2} of {peer}"),
            Self::AtMost(bound) => format!("at most {bound}"),
        }
    }
}

/// The contest's table and a line for each target.
pub fn table(contest: &Contest, outcome: &Outcome) -> String {
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

fn entrants(outcome: &Outcome) -> impl Iterator<Item = (&Standing, &'static str)> {
    let others = outcome.others.iter().map(|standing| (standing, "other"));
    std::iter::once((&outcome.peer, "peer")).chain(outcome.ours.iter().map(|ours| (ours, "ours"))).chain(others)
}

fn cell(value: Option<f64>, peer: Option<f64>) -> String {
    let Some(value) = value else { return format!("{:>COLUMN$}", "-") };
    let ratio = peer.filter(|peer| *peer > 0.0).map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", value / peer));
    let digits = if value.abs() < 100.0 { 2 } else { 0 };
    format!("{:>COLUMN$}", format!("{value:.digits$} ({ratio})"))
}

fn line(metric: &Metric, outcome: &Outcome) -> Option<String> {
    let target = metric.target?;
    let what = format!("{}: {}", metric.label, target.words(outcome.peer.name));
    Some(match judge(metric, outcome)? {
        Verdict::Holds(value) => format!("  holds         {what}: {value:.2}{}", caution(metric, outcome)),
        Verdict::Misses(value) => format!("  MISSES        {what}: {value:.2}{}", caution(metric, outcome)),
        Verdict::NotMeasured => format!("  not measured  {what}"),
    })
}

fn caution(metric: &Metric, outcome: &Outcome) -> String {
    match spread(metric, outcome).filter(|spread| *spread > STEADY) {
        Some(spread) => {
            format!(" (UNSTEADY: rounds differ by a factor of {spread:.2}, measure again on a quiet machine)")
        }
        None => String::new(),
    }
}

/// How far the rounds of the peer or of ours lie apart, whichever is worse, where the target is a ratio of the two.
fn spread(metric: &Metric, outcome: &Outcome) -> Option<f64> {
    if let Target::AtMost(_) = metric.target? {
        return None;
    }
    std::iter::once(&outcome.peer)
        .chain(&outcome.ours)
        .filter_map(|standing| standing.range(metric.field))
        .map(|(least, greatest)| greatest / least)
        .max_by(f64::total_cmp)
}

fn judge(metric: &Metric, outcome: &Outcome) -> Option<Verdict> {
    let ours = outcome.ours.as_ref().and_then(|ours| ours.median(metric.field));
    Some(metric.target?.judge(ours, outcome.peer.median(metric.field)))
}

/// The contest as JSON: every report, the medians with their ranges, the verdicts.
pub fn record(contest: &Contest, outcome: &Outcome) -> Value {
    let entrants: Vec<Value> = entrants(outcome).map(|(standing, role)| entrant(contest, standing, role)).collect();
    let verdicts: Vec<Value> = contest.metrics.iter().filter_map(|metric| verdict(metric, outcome)).collect();
    json!({"name": contest.name, "title": contest.title, "entrants": entrants, "targets": verdicts})
}

fn entrant(contest: &Contest, standing: &Standing, role: &str) -> Value {
    let metrics = contest.metrics.iter().map(|metric| {
        let (least, greatest) = standing.range(metric.field).unzip();
        let median = standing.median(metric.field);
        (metric.field.to_owned(), json!({"median": median, "least": least, "greatest": greatest}))
    });
    let metrics: serde_json::Map<String, Value> = metrics.collect();
    json!({"name": standing.name, "role": role, "metrics": metrics, "reports": standing.reports})
}

fn verdict(metric: &Metric, outcome: &Outcome) -> Option<Value> {
    let target = metric.target?.words(outcome.peer.name);
    let (holds, value) = match judge(metric, outcome)? {
        Verdict::Holds(value) => (Some(true), Some(value)),
        Verdict::Misses(value) => (Some(false), Some(value)),
        Verdict::NotMeasured => (None, None),
    };
    let spread = spread(metric, outcome);
    Some(json!({"metric": metric.field, "target": target, "value": value, "holds": holds, "spread": spread}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::bench::contest::Entrant;

    fn contest(target: Target) -> Contest {
        let server = crate::load::bench::child::Server { name: "p", program: "p".into(), arguments: Vec::new() };
        Contest {
            name: "c",
            title: "t".into(),
            load: Vec::new(),
            peer: Entrant { server, load: Vec::new() },
            ours: None,
            others: Vec::new(),
            metrics: vec![Metric { label: "cost", field: "cost", target: Some(target) }],
        }
    }

    fn standing(name: &'static str, costs: &[f64]) -> Standing {
        Standing { name, reports: costs.iter().map(|cost| json!({"cost": cost})).collect() }
    }

    #[test]
    fn bounds_belong_to_what_holds() {
        assert_eq!(Target::RatioAtMost(0.5).judge(Some(1.0), Some(2.0)), Verdict::Holds(0.5));
        assert_eq!(Target::RatioAtLeast(0.9).judge(Some(1.0), Some(2.0)), Verdict::Misses(0.5));
        assert_eq!(Target::AtMost(100.0).judge(Some(101.0), None), Verdict::Misses(101.0));
        assert_eq!(Target::RatioAtMost(2.0).judge(Some(1.0), Some(0.0)), Verdict::NotMeasured);
        assert_eq!(Target::AtMost(1.0).judge(None, Some(1.0)), Verdict::NotMeasured);
    }

    #[test]
    fn the_table_tells_medians_ratios_and_verdicts() {
        let peer = standing("warp", &[8.0, 10.0, 9.0]);
        let outcome = Outcome { peer, ours: Some(standing("shim", &[3.0, 2.7])), others: vec![standing("x", &[])] };
        let table = table(&contest(Target::RatioAtMost(0.4)), &outcome);
        assert!(table.contains("9.00 (1.00)") && table.contains("2.85 (0.32)"), "{table}");
        assert!(table.contains("holds         cost: at most 0.40 of warp: 0.32"), "{table}");
    }

    #[test]
    fn a_ratio_of_unsteady_rounds_says_so() {
        let contest = contest(Target::RatioAtMost(1.0));
        let outcome = |ours: &[f64]| Outcome {
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
        let outcome = Outcome { peer: standing("warp", &[8.0]), ours: None, others: Vec::new() };
        let contest = contest(Target::RatioAtMost(9.0));
        assert!(table(&contest, &outcome).contains("not measured"));
        assert_eq!(record(&contest, &outcome)["targets"][0]["holds"], Value::Null);
    }
}
