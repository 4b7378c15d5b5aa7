//! The whole conformance suite as a test: no row fails, and the page that it writes is the one in the repository.
//!
//! The second world drives the same rows over the network only, against probes in another process, as it would drive a
//! real stage.

mod sdk;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use tests::conformance::cases;
use tests::conformance::report::{CaseOutcome, CaseVerdict, ConformanceReport};
use tests::conformance::runner::{self, RunTarget};
use tests::conformance::wire::endpoint_address::EndpointAddress;

const PAGE: &str = include_str!("../../../docs/FIDELITY.md");

fn assert_no_failure(report: &ConformanceReport) {
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{}: {failures:#?}", report.summary());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_holds_and_the_page_is_fresh() {
    let report = runner::run_both(&cases::rows()).await;
    println!("{}", report.summary());
    assert_no_failure(&report);
    let fresh = report.markdown() == PAGE;
    assert!(fresh, "docs/FIDELITY.md is stale; write it again: make docs");
}

/// An endpoint with the probes, in a process of its own. It ends with its standard input, and at the latest when this
/// value goes.
struct Endpoint {
    process: Child,
    url: String,
}

impl Endpoint {
    fn start() -> anyhow::Result<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_conformance"))
            .args(["--serve", "127.0.0.1:0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let output = process.stdout.take().context("a pipe was asked for")?;
        BufReader::new(output).read_line(&mut url)?;
        Ok(Self { process, url: url.trim().to_owned() })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_run_against_an_endpoint_elsewhere() {
    let endpoint = Endpoint::start().unwrap();
    let place = EndpointAddress::parse(&endpoint.url).unwrap();
    let report = runner::run(&cases::rows(), &RunTarget::Remote(place, None)).await;
    println!("{}", report.summary());
    assert_no_failure(&report);
    let ran = |outcome: &&CaseOutcome| matches!(outcome.verdict, CaseVerdict::Holds | CaseVerdict::Chosen);
    assert!(report.outcomes.iter().filter(ran).count() > 100, "too few rows ran: {}", report.summary());
}
