//! The comparisons of the benchmark, and the targets of our server.
//!
//! Our server is `bench_server` in the directory of this program: `--kind echo` answers every message on its stage
//! `prod` through an event and a handler; `--kind app --secret S` serves the application there, for tokens signed
//! with S (`tokens`). Without that program the comparisons run for the other servers and their targets are reported
//! as not measured. Pods are the real `twinway`, started by `bench_pods` (`pods`).

mod pods;

use std::path::{Path, PathBuf};

use super::child::BenchmarkServer;
use super::comparison::{Comparison, Contender, Metric, MetricTarget, START_MILLIS};
use super::tokens;

/// Our servers listen on their stage, as API Gateway does.
const OURS: &str = "--url ws://{addr}/prod";

/// Our servers with a token per connection; `tokens` writes the files.
const OURS_AS_USER: &str = "--url ws://{addr}/prod --token-file {work}/user.tokens";

/// The bare servers accept any path.
const BARE: &str = "--url ws://{addr}/";

/// Echoed message: JSON, so that our server selects the route as in production. The peers get the same.
const MESSAGE: &str = r#"--message {"action":"echo","body":"{pad}"}"#;

/// Size of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuiteSize {
    /// Short windows and 1,000 idle connections, for a preview in a few minutes.
    Quick,
    /// The size that the targets apply to.
    Full,
}

/// Comparisons for a directory of programs and a size.
pub struct Suite {
    /// Directory of the programs.
    bin: PathBuf,
    size: SuiteSize,
}

impl Suite {
    /// Returns a suite of the programs in `bin`.
    pub fn new(bin: &Path, size: SuiteSize) -> Self {
        Self { bin: bin.to_owned(), size }
    }

    /// Returns all comparisons of single servers, in order.
    pub fn comparisons(&self) -> Vec<Comparison> {
        vec![self.start(), self.echo(1, 1.15), self.echo(16, 0.4), self.fanout(), self.idle(), self.connect()]
    }

    /// Returns the comparisons of several servers on one Redis; Socket.IO must be installed.
    pub fn cluster_comparisons(&self) -> Vec<Comparison> {
        vec![self.pods_paced(), self.pods_many(), self.pods_one()]
    }

    /// Returns the path of the load generator.
    pub fn generator(&self) -> PathBuf {
        self.bin.join("load")
    }

    fn start(&self) -> Comparison {
        Comparison {
            name: "start",
            title: "time from process start until the server listens".to_owned(),
            load: Vec::new(),
            peer: self.bare("warp-echo", ""),
            ours: self.ours("app", ""),
            others: Vec::new(),
            metrics: vec![metric("start, ms", START_MILLIS, Some(MetricTarget::AtMost(100.0)))],
        }
    }

    fn echo(&self, in_flight: u32, at_most: f64) -> Comparison {
        Comparison {
            name: if in_flight == 1 { "echo-1" } else { "echo-16" },
            title: format!("echo, 50 connections, 100 bytes, {in_flight} in flight on each"),
            load: words(&format!(
                "echo --connections 50 --bytes 100 --in-flight {in_flight} {MESSAGE} {}",
                self.window()
            )),
            peer: self.bare("warp-echo", BARE),
            ours: self.ours("echo", OURS),
            others: vec![self.bare("warp-echo-forward", BARE), self.bare("tungstenite-echo", BARE)],
            metrics: vec![
                metric("server CPU, us per message", "server_cpu_us", Some(MetricTarget::RatioAtMost(at_most))),
                metric("messages per second", "messages_per_second", None),
                metric("latency p50, us", "latency_us/p50", None),
                metric("latency p99, us", "latency_us/p99", None),
                metric("generator CPU, us per message", "generator_cpu_us", None),
            ],
        }
    }

    /// The peer's broadcasts have the length of our frames on the wire: 100 bytes of body and the `message` frame
    /// around them.
    fn fanout(&self) -> Comparison {
        let mut ours = self.ours("app", OURS_AS_USER);
        if let Some(ours) = &mut ours {
            ours.load.extend(words("--publish-token-file {work}/admin.tokens --bytes 160"));
            ours.load.extend(words(r#"--subscribe-frame {"action":"subscribe","id":"ready","channel":"topic:bench"}"#));
            ours.load.extend(words(r#"--subscribed-marker "ready" --publish-frame"#));
            ours.load.extend(words(r#"{"action":"send","id":"{run}{seq}","to":"topic:bench","body":"{seq}{pad}"}"#));
        }
        Comparison {
            name: "fanout",
            title: "broadcast to 1,000 receivers, 100 bytes of body, 16 in flight".to_owned(),
            load: words(&format!("fanout --receivers 1000 --in-flight 16 {}", self.window())),
            peer: self.bare("tungstenite-broadcast", "--url ws://{addr}/sub --publish-url ws://{addr}/pub --bytes 280"),
            ours,
            others: Vec::new(),
            metrics: vec![
                metric(
                    "deliveries per server CPU second",
                    "deliveries_per_cpu_second",
                    Some(MetricTarget::RatioAtLeast(0.9)),
                ),
                metric("deliveries lost", "lost", Some(MetricTarget::AtMost(0.0))),
                metric("deliveries per second", "deliveries_per_second", None),
                metric("latency p50, us", "latency_us/p50", None),
                metric("latency p99, us", "latency_us/p99", None),
                metric("bytes of a delivery", "delivered_bytes", None),
                metric("generator CPU, us per delivery", "generator_cpu_us", None),
            ],
        }
    }

    fn idle(&self) -> Comparison {
        // The target applies to 10,000 connections; with fewer, the fixed memory of the process weighs more.
        let (connections, target) = match self.size {
            SuiteSize::Full => (10_000, Some(MetricTarget::AtMost(8.0 * 1024.0))),
            SuiteSize::Quick => (1_000, None),
        };
        Comparison {
            name: "idle",
            title: format!("{connections} idle connections (ours authenticated)"),
            load: words(&format!("idle --connections {connections} --rate 2000")),
            peer: self.bare("tungstenite-echo", BARE),
            ours: self.ours("app", OURS_AS_USER),
            others: vec![self.bare("warp-accept", BARE)],
            metrics: vec![
                metric("resident bytes per connection", "bytes_per_connection", target),
                metric("resident bytes before", "resident_before", None),
                metric("connections opened per second", "opened_per_second", None),
            ],
        }
    }

    fn connect(&self) -> Comparison {
        Comparison {
            name: "connect",
            title: "connecting and closing, 16 clients at once (ours: token verified, $connect and $disconnect run)"
                .to_owned(),
            load: words(&format!("connect --concurrency 16 {}", self.window())),
            peer: self.bare("warp-accept", BARE),
            ours: self.ours("app", OURS_AS_USER),
            others: vec![self.bare("tungstenite-echo", BARE)],
            metrics: vec![
                metric("connects per second", "connects_per_second", Some(MetricTarget::RatioAtLeast(0.7))),
                metric("server CPU, us per connect", "server_cpu_us", Some(MetricTarget::RatioAtMost(1.0 / 0.7))),
                metric("latency p50, us", "latency_us/p50", None),
                metric("latency p99, us", "latency_us/p99", None),
                metric("failures", "failures", Some(MetricTarget::AtMost(0.0))),
                metric("generator CPU, us per connect", "generator_cpu_us", None),
            ],
        }
    }

    fn window(&self) -> &'static str {
        match self.size {
            SuiteSize::Quick => "--warm-up 1 --seconds 2",
            SuiteSize::Full => "--warm-up 1 --seconds 5",
        }
    }

    fn bare(&self, kind: &'static str, load: &str) -> Contender {
        let arguments = ["--kind", kind, "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
        Contender {
            server: BenchmarkServer { name: kind, program: self.bin.join("bare"), arguments },
            load: words(load),
        }
    }

    fn ours(&self, kind: &str, load: &str) -> Option<Contender> {
        let program = self.bin.join("bench_server");
        let mut arguments = vec!["--kind".to_owned(), kind.to_owned()];
        if kind == "app" {
            arguments.extend(["--secret".to_owned(), tokens::SECRET.to_owned()]);
        }
        program
            .exists()
            .then(|| Contender { server: BenchmarkServer { name: "ours", program, arguments }, load: words(load) })
    }
}

fn metric(label: &'static str, field: &'static str, target: Option<MetricTarget>) -> Metric {
    Metric { label, field, target }
}

fn words(text: &str) -> Vec<String> {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_target_is_checked() {
        let comparisons = Suite::new(Path::new("/nowhere"), SuiteSize::Full).comparisons();
        let targets: Vec<(&str, &str, MetricTarget)> = comparisons
            .iter()
            .flat_map(|comparison| comparison.metrics.iter().map(move |metric| (comparison.name, metric)))
            .filter_map(|(name, metric)| Some((name, metric.field, metric.target?)))
            .collect();
        let stated = [
            ("start", START_MILLIS, MetricTarget::AtMost(100.0)),
            ("echo-1", "server_cpu_us", MetricTarget::RatioAtMost(1.15)),
            ("echo-16", "server_cpu_us", MetricTarget::RatioAtMost(0.4)),
            ("fanout", "deliveries_per_cpu_second", MetricTarget::RatioAtLeast(0.9)),
            ("idle", "bytes_per_connection", MetricTarget::AtMost(8_192.0)),
            ("connect", "connects_per_second", MetricTarget::RatioAtLeast(0.7)),
        ];
        for target in stated {
            assert!(targets.contains(&target), "{target:?}");
        }
    }

    #[test]
    fn our_server_is_measured_once_it_is_built() {
        let bin = tempfile::tempdir().unwrap();
        let suite = Suite::new(bin.path(), SuiteSize::Quick);
        assert!(suite.comparisons().iter().all(|comparison| comparison.ours.is_none()));
        std::fs::write(bin.path().join("bench_server"), "").unwrap();
        assert!(suite.comparisons().iter().all(|comparison| comparison.ours.is_some()));
    }
}
