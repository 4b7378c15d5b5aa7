//! A comparison: one load, several servers, alternating rounds, and the targets that our server must meet.
//!
//! Every measurement starts a new server, so that none inherits memory or warm caches. A failed measurement is
//! repeated once and then fails its comparison; the other comparisons still run.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::child::{BenchmarkServer, Pinning, ServerProcess, run_load};

/// Report field with the time from the start of the server until it listens, in milliseconds.
pub const START_MILLIS: &str = "start_ms";

/// One server with its load.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Server under test.
    pub server: BenchmarkServer,
    /// Load arguments for this server only; `{addr}` and `{work}` are filled in.
    pub load: Vec<String>,
}

/// Bound on one value of our server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricTarget {
    /// Maximum of our value divided by the peer's.
    RatioAtMost(f64),
    /// Minimum of our value divided by the peer's.
    RatioAtLeast(f64),
    /// Maximum of our value.
    AtMost(f64),
}

/// Compared value.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Name in tables, with the unit.
    pub label: &'static str,
    /// JSON pointer into the generator's report, without the leading slash.
    pub field: &'static str,
    /// Bound that our value must meet, if any.
    pub target: Option<MetricTarget>,
}

/// One load on several servers. `ours` is absent when its program has not been built.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Short name, for selection on the command line.
    pub name: &'static str,
    /// Description of the load.
    pub title: String,
    /// The generator's scenario and its arguments for every server; empty if only the start is measured.
    pub load: Vec<String>,
    /// Server that ratios refer to.
    pub peer: Contender,
    /// Server that targets apply to.
    pub ours: Option<Contender>,
    /// Further servers, for orientation.
    pub others: Vec<Contender>,
    /// Compared values.
    pub metrics: Vec<Metric>,
}

/// Reports of one server, one per round.
#[derive(Clone, Debug)]
pub struct ContenderResult {
    /// Server name.
    pub name: &'static str,
    /// Reports in the order of the rounds.
    pub reports: Vec<Value>,
}

/// Results of all servers.
#[derive(Clone, Debug)]
pub struct ComparisonResult {
    /// Server that ratios refer to.
    pub peer: ContenderResult,
    /// Server that targets apply to.
    pub ours: Option<ContenderResult>,
    /// Further servers.
    pub others: Vec<ContenderResult>,
}

/// Environment of the measurements.
#[derive(Clone, Debug)]
pub struct RunEnvironment {
    /// Program of the generator.
    pub generator: PathBuf,
    /// CPU pinning.
    pub pinning: Pinning,
    /// Directory of this run, for servers that need one.
    pub work: String,
    /// Number of rounds, each of which measures every server once.
    pub rounds: u32,
}

impl Comparison {
    /// Runs all rounds.
    ///
    /// # Errors
    /// A measurement fails twice.
    pub fn run(&self, environment: &RunEnvironment) -> anyhow::Result<ComparisonResult> {
        let contenders: Vec<&Contender> = std::iter::once(&self.peer).chain(&self.ours).chain(&self.others).collect();
        let mut results: Vec<ContenderResult> = contenders
            .iter()
            .map(|contender| ContenderResult { name: contender.server.name, reports: Vec::new() })
            .collect();
        for round in 1..=environment.rounds {
            for (contender, result) in contenders.iter().zip(&mut results) {
                eprintln!("{}: round {round} of {}: {}", self.name, environment.rounds, contender.server.name);
                let report = self.run_round(contender, environment).or_else(|_| self.run_round(contender, environment));
                result.reports.push(report.with_context(|| format!("{} in {}", contender.server.name, self.name))?);
            }
        }
        Ok(group_results(results, self.ours.is_some()))
    }

    fn run_round(&self, contender: &Contender, environment: &RunEnvironment) -> anyhow::Result<Value> {
        let running = ServerProcess::start(&contender.server, environment.pinning, &environment.work)?;
        let mut report = Value::Object(serde_json::Map::new());
        if !self.load.is_empty() {
            let mut arguments: Vec<String> = self
                .load
                .iter()
                .chain(&contender.load)
                .map(|argument| argument.replace("{addr}", &running.address).replace("{work}", &environment.work))
                .collect();
            arguments.extend(["--server-pid".to_owned(), running.pid().to_string()]);
            report = run_load(&environment.generator, environment.pinning, &arguments)?;
        }
        report[START_MILLIS] = (running.start.as_secs_f64() * 1e3).into();
        Ok(report)
    }
}

fn group_results(results: Vec<ContenderResult>, with_ours: bool) -> ComparisonResult {
    let mut results = results.into_iter();
    let peer = results.next().expect("the peer is always the first contender");
    let ours = if with_ours { results.next() } else { None };
    ComparisonResult { peer, ours, others: results.collect() }
}

impl ContenderResult {
    /// Returns the median over the rounds; for an even number the mean of the middle two. `None` if a report lacks
    /// the value.
    pub fn median(&self, field: &str) -> Option<f64> {
        let mut values = self.values(field)?;
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some(f64::midpoint(*low, *high))
    }

    /// Returns the minimum and the maximum over the rounds.
    pub fn range(&self, field: &str) -> Option<(f64, f64)> {
        let values = self.values(field)?;
        let least = values.iter().copied().min_by(f64::total_cmp)?;
        Some((least, values.into_iter().max_by(f64::total_cmp)?))
    }

    fn values(&self, field: &str) -> Option<Vec<f64>> {
        self.reports.iter().map(|report| report.pointer(&format!("/{field}"))?.as_f64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(values: &[f64]) -> ContenderResult {
        let reports = values.iter().map(|value| serde_json::json!({"a": {"b": value}})).collect();
        ContenderResult { name: "x", reports }
    }

    #[test]
    fn medians_are_robust_against_outliers() {
        assert_eq!(result(&[9.0, 1.0, 2.0]).median("a/b"), Some(2.0));
        assert_eq!(result(&[1.0, 2.0, 4.0, 900.0]).median("a/b"), Some(3.0));
        assert_eq!(result(&[3.0, 1.0]).range("a/b"), Some((1.0, 3.0)));
        assert_eq!((result(&[]).median("a/b"), result(&[1.0]).median("a/c")), (None, None));
    }

    #[test]
    fn contenders_alternate_and_reports_keep_their_order() {
        let server = |name| BenchmarkServer {
            name,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "echo x >> {work}/turns; echo listening on h:1; cat".into()],
        };
        let contender =
            |name| Contender { server: server(name), load: vec!["echo '{\"url\": \"ws://{addr}\"}' #".into()] };
        let comparison = Comparison {
            name: "c",
            title: "t".into(),
            load: vec!["-c".into()],
            peer: contender("peer"),
            ours: Some(contender("ours")),
            others: vec![contender("other")],
            metrics: Vec::new(),
        };
        let work = tempfile::tempdir().unwrap();
        let environment = RunEnvironment {
            generator: "/bin/sh".into(),
            pinning: Pinning::Free,
            work: work.path().to_str().unwrap().into(),
            rounds: 2,
        };
        let outcome = comparison.run(&environment).unwrap();
        assert_eq!((outcome.peer.name, outcome.others[0].name), ("peer", "other"));
        let ours = outcome.ours.unwrap();
        assert_eq!((ours.name, ours.reports.len(), ours.reports[1]["url"].as_str()), ("ours", 2, Some("ws://h:1")));
        assert!(ours.median(START_MILLIS).unwrap() > 0.0);
        assert_eq!(std::fs::read_to_string(work.path().join("turns")).unwrap().lines().count(), 6);
    }
}
