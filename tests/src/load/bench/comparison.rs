//! A contest: one load, several servers, rounds in which they take turns, and the targets that ours must meet.
//!
//! Every turn starts the server anew, so that no turn inherits another's memory or warm caches. A turn that fails is
//! tried once more and then fails the contest, not the whole benchmark: the others still run.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use super::child::{BenchmarkServer, Pinning, ServerProcess, run_load};

/// Where a report holds the time from starting the server to its being ready, in milliseconds.
pub const START_MILLIS: &str = "start_ms";

/// One server with the load as it must be put on it.
#[derive(Clone, Debug)]
pub struct Contender {
    /// The server.
    pub server: BenchmarkServer,
    /// Arguments of the load that only this server needs; `{addr}` and `{work}` are filled in.
    pub load: Vec<String>,
}

/// A bound on one value of ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MetricTarget {
    /// Ours divided by the peer's is at most this.
    RatioAtMost(f64),
    /// Ours divided by the peer's is at least this.
    RatioAtLeast(f64),
    /// Ours is at most this.
    AtMost(f64),
}

/// One value that is compared.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Its name in tables, with the unit.
    pub label: &'static str,
    /// Where it is in the generator's report: a JSON pointer without the leading slash.
    pub field: &'static str,
    /// What it must be, if anything.
    pub target: Option<MetricTarget>,
}

/// One load on several servers. `ours` is absent when its program has not been built.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Short name, to choose it on the command line.
    pub name: &'static str,
    /// What is done, in words.
    pub title: String,
    /// The generator's scenario and its arguments for every entrant; empty if starting is all that is measured.
    pub load: Vec<String>,
    /// The server that ratios refer to.
    pub peer: Contender,
    /// The server that targets are for.
    pub ours: Option<Contender>,
    /// Others, for orientation.
    pub others: Vec<Contender>,
    /// What is compared.
    pub metrics: Vec<Metric>,
}

/// What one entrant did: a report for each round.
#[derive(Clone, Debug)]
pub struct ContenderResult {
    /// The server's name.
    pub name: &'static str,
    /// Its reports, in the order of the rounds.
    pub reports: Vec<Value>,
}

/// What all entrants did, in the order peer, ours, others.
#[derive(Clone, Debug)]
pub struct ComparisonResult {
    /// The server that ratios refer to.
    pub peer: ContenderResult,
    /// The server that targets are for.
    pub ours: Option<ContenderResult>,
    /// Others.
    pub others: Vec<ContenderResult>,
}

/// How turns are run.
#[derive(Clone, Debug)]
pub struct RunEnvironment {
    /// The generator's program.
    pub generator: PathBuf,
    /// Which cores.
    pub pinning: Pinning,
    /// A directory of this run, for servers that need one.
    pub work: String,
    /// How often everyone takes a turn.
    pub rounds: u32,
}

impl Comparison {
    /// Runs all rounds.
    ///
    /// # Errors
    /// When an entrant's turn fails twice.
    pub fn run(&self, arena: &RunEnvironment) -> anyhow::Result<ComparisonResult> {
        let entrants: Vec<&Contender> = std::iter::once(&self.peer).chain(&self.ours).chain(&self.others).collect();
        let mut standings: Vec<ContenderResult> =
            entrants.iter().map(|entrant| ContenderResult { name: entrant.server.name, reports: Vec::new() }).collect();
        for round in 1..=arena.rounds {
            for (entrant, standing) in entrants.iter().zip(&mut standings) {
                eprintln!("{}: round {round} of {}: {}", self.name, arena.rounds, entrant.server.name);
                let report = self.run_round(entrant, arena).or_else(|_| self.run_round(entrant, arena));
                standing.reports.push(report.with_context(|| format!("{} in {}", entrant.server.name, self.name))?);
            }
        }
        Ok(outcome(standings, self.ours.is_some()))
    }

    fn run_round(&self, entrant: &Contender, arena: &RunEnvironment) -> anyhow::Result<Value> {
        let running = ServerProcess::start(&entrant.server, arena.pinning, &arena.work)?;
        let mut report = Value::Object(serde_json::Map::new());
        if !self.load.is_empty() {
            let mut arguments: Vec<String> = self
                .load
                .iter()
                .chain(&entrant.load)
                .map(|argument| argument.replace("{addr}", &running.address).replace("{work}", &arena.work))
                .collect();
            arguments.extend(["--server-pid".to_owned(), running.pid().to_string()]);
            report = run_load(&arena.generator, arena.pinning, &arguments)?;
        }
        report[START_MILLIS] = (running.start.as_secs_f64() * 1e3).into();
        Ok(report)
    }
}

fn outcome(standings: Vec<ContenderResult>, with_ours: bool) -> ComparisonResult {
    let mut standings = standings.into_iter();
    let peer = standings.next().expect("the peer is always the first entrant");
    let ours = if with_ours { standings.next() } else { None };
    ComparisonResult { peer, ours, others: standings.collect() }
}

impl ContenderResult {
    /// The median over the rounds; of an even number the mean of the middle two. `None` if a report lacks the value.
    pub fn median(&self, field: &str) -> Option<f64> {
        let mut values = self.values(field)?;
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some(f64::midpoint(*low, *high))
    }

    /// The least and the greatest over the rounds.
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

    fn standing(values: &[f64]) -> ContenderResult {
        let reports = values.iter().map(|value| serde_json::json!({"a": {"b": value}})).collect();
        ContenderResult { name: "x", reports }
    }

    #[test]
    fn medians_do_not_follow_outliers() {
        assert_eq!(standing(&[9.0, 1.0, 2.0]).median("a/b"), Some(2.0));
        assert_eq!(standing(&[1.0, 2.0, 4.0, 900.0]).median("a/b"), Some(3.0));
        assert_eq!(standing(&[3.0, 1.0]).range("a/b"), Some((1.0, 3.0)));
        assert_eq!((standing(&[]).median("a/b"), standing(&[1.0]).median("a/c")), (None, None));
    }

    #[test]
    fn entrants_take_turns_and_reports_keep_their_order() {
        let server = |name| BenchmarkServer {
            name,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), "echo x >> {work}/turns; echo listening on h:1; cat".into()],
        };
        let entrant =
            |name| Contender { server: server(name), load: vec!["echo '{\"url\": \"ws://{addr}\"}' #".into()] };
        let contest = Comparison {
            name: "c",
            title: "t".into(),
            load: vec!["-c".into()],
            peer: entrant("peer"),
            ours: Some(entrant("ours")),
            others: vec![entrant("other")],
            metrics: Vec::new(),
        };
        let work = tempfile::tempdir().unwrap();
        let arena = RunEnvironment {
            generator: "/bin/sh".into(),
            pinning: Pinning::Free,
            work: work.path().to_str().unwrap().into(),
            rounds: 2,
        };
        let outcome = contest.run(&arena).unwrap();
        assert_eq!((outcome.peer.name, outcome.others[0].name), ("peer", "other"));
        let ours = outcome.ours.unwrap();
        assert_eq!((ours.name, ours.reports.len(), ours.reports[1]["url"].as_str()), ("ours", 2, Some("ws://h:1")));
        assert!(ours.median(START_MILLIS).unwrap() > 0.0);
        assert_eq!(std::fs::read_to_string(work.path().join("turns")).unwrap().lines().count(), 6);
    }
}
