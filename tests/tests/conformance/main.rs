//! The complete conformance suite as a test: no row fails, and the generated page equals the one in the repository.
//!
//! The second test runs the same rows over the network only, against probes in another process, as against a real
//! stage.

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
async fn every_row_holds_and_the_page_is_up_to_date() {
    let report = runner::run_both(&cases::rows()).await;
    println!("{}", report.summary());
    assert_no_failure(&report);
    let up_to_date = report.markdown() == PAGE;
    assert!(up_to_date, "docs/FIDELITY.md is outdated; regenerate it with `make docs`");
}

/// An endpoint with the probes in a separate process, which exits at the end of its standard input and is killed on
/// drop.
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
        let output = process.stdout.take().context("standard output is a pipe")?;
        BufReader::new(output).read_line(&mut url)?;
        Ok(Self { process, url: url.trim().to_owned() })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_run_against_a_remote_endpoint() {
    let endpoint = Endpoint::start().unwrap();
    let endpoint = EndpointAddress::parse(&endpoint.url).unwrap();
    let report = runner::run(&cases::rows(), &RunTarget::Remote(endpoint, None)).await;
    println!("{}", report.summary());
    assert_no_failure(&report);
    let ran = |outcome: &&CaseOutcome| matches!(outcome.verdict, CaseVerdict::Holds | CaseVerdict::Chosen);
    assert!(report.outcomes.iter().filter(ran).count() > 100, "too few rows ran: {}", report.summary());
}
