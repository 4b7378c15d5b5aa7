//! Comparisons of broadcasts to 3,000 clients on three servers that share a Redis: our pods and Socket.IO with its
//! Redis adapter.
//!
//! The CPU time of the three servers and of Redis is counted together. Receivers connect to the servers directly,
//! 1,000 to each; a load balancer would cost both the same. Both send the same 100 bytes of body; our envelope is
//! longer. Ours sends a message by its defaults (acknowledged, numbered, logged), Socket.IO an emitted event without
//! these guarantees. Our server without the log is measured as a third contender.

use super::{OURS_AS_USER, Suite, SuiteSize, metric, words};
use crate::load::bench::child::BenchmarkServer;
use crate::load::bench::comparison::{Comparison, Contender, Metric, MetricTarget};
use crate::load::template::{MARK_BYTES, Template};

/// Minimum ratio of our deliveries per CPU second to the peer's.
const RATIO: f64 = 2.0;

/// Length of the body in bytes.
const BODY: usize = 100;

/// An admin's message to `everyone` reaches every connection, so receivers need not subscribe.
const DURABLE: &str = r#"{"action":"send","id":"{seq}","to":"everyone","body":"{seq}{pad}"}"#;
const EPHEMERAL: &str = r#"{"action":"send","id":"{seq}","to":"everyone","ephemeral":true,"body":"{seq}{pad}"}"#;

/// Engine.IO 4 and Socket.IO 5 as text: `40` joins the namespace and is acknowledged, `2` is a heartbeat, `42` an
/// event.
const JOIN_NAMESPACE: &str =
    r#"--heartbeat 2=3 --subscribe-frame 40 --subscribed-marker 40{"sid" --publishers-subscribe"#;
const EVENT: &str = r#"42["publish","{seq}{pad}"]"#;

impl Suite {
    /// One sender at a rate that all servers sustain: cost and latency of a delivery under equal load.
    pub(super) fn pods_paced(&self) -> Comparison {
        let title = "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, one sender, 10 a second".to_owned();
        self.pods("pods-paced", title, "--in-flight 64 --rate 10")
    }

    /// Many senders at full speed: each admin waits only for its own messages.
    pub(super) fn pods_many(&self) -> Comparison {
        let title =
            "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, 16 senders with one in flight each".to_owned();
        self.pods("pods-many", title, "--publishers 16 --in-flight 16")
    }

    /// One sender at full speed: our server handles the messages of a connection one after the other, each after the
    /// previous one is in the log.
    pub(super) fn pods_one(&self) -> Comparison {
        let title =
            "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, one sender with 16 in flight".to_owned();
        self.pods("pods-one", title, "--in-flight 16")
    }

    fn pods(&self, name: &'static str, title: String, limits: &str) -> Comparison {
        let window = match self.size {
            SuiteSize::Quick => "--warm-up 1 --seconds 4",
            SuiteSize::Full => "--warm-up 2 --seconds 10",
        };
        Comparison {
            name,
            title,
            load: words(&format!("fanout --receivers 3000 {limits} {window}")),
            peer: self.socketio(),
            ours: self.pods_of_ours("ours", DURABLE),
            others: self.pods_of_ours("ours-without-log", EPHEMERAL).into_iter().collect(),
            metrics: metrics(),
        }
    }

    fn socketio(&self) -> Contender {
        let mut load = words("--url ws://{addr}/socket.io/?EIO=4&transport=websocket");
        load.extend(words(JOIN_NAMESPACE));
        load.extend(published(EVENT));
        Contender { server: self.launcher("socket.io", "socketio"), load }
    }

    fn pods_of_ours(&self, name: &'static str, frame: &str) -> Option<Contender> {
        let mut load = words(OURS_AS_USER);
        load.extend(words("--publish-token-file {work}/admin.tokens"));
        load.extend(published(frame));
        let contender = Contender { server: self.launcher(name, "ours"), load };
        self.bin.join("twinway").exists().then_some(contender)
    }

    fn launcher(&self, name: &'static str, kind: &str) -> BenchmarkServer {
        let packages = self.bin.join("../socketio").display().to_string();
        let arguments = ["--kind", kind, "--packages", &packages].map(str::to_owned).to_vec();
        BenchmarkServer { name, program: self.bin.join("bench_pods"), arguments }
    }
}

/// Returns the arguments for a frame that is padded until its body has [`BODY`] bytes.
fn published(frame: &str) -> Vec<String> {
    let envelope = Template::new(frame, 0).render(0).len() - MARK_BYTES;
    words(&format!("--bytes {} --publish-frame {frame}", envelope + BODY))
}

fn metrics() -> Vec<Metric> {
    vec![
        metric("deliveries per CPU second", "deliveries_per_cpu_second", Some(MetricTarget::RatioAtLeast(RATIO))),
        metric("deliveries lost", "lost", Some(MetricTarget::AtMost(0.0))),
        metric("deliveries repeated", "repeated", Some(MetricTarget::AtMost(0.0))),
        metric("deliveries per second", "deliveries_per_second", None),
        metric("CPU of servers and Redis, us each", "server_cpu_us", None),
        metric("latency p50, us", "latency_us/p50", None),
        metric("latency p99, us", "latency_us/p99", None),
        metric("bytes of a delivery", "delivered_bytes", None),
        metric("generator CPU, us per delivery", "generator_cpu_us", None),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn all_send_a_body_of_the_same_length() {
        for frame in [DURABLE, EPHEMERAL, EVENT] {
            let load = published(frame);
            let text = Template::new(&load[3], load[1].parse().unwrap()).render(7);
            let json: serde_json::Value = serde_json::from_str(text.trim_start_matches("42")).unwrap();
            let body = json.get("body").or_else(|| json.get(1)).unwrap();
            assert_eq!(body.as_str().unwrap().len(), BODY, "{text}");
        }
    }

    #[test]
    fn our_pods_must_deliver_twice_as_much_and_lose_nothing() {
        let bin = tempfile::tempdir().unwrap();
        std::fs::write(bin.path().join("twinway"), "").unwrap();
        for comparison in Suite::new(bin.path(), SuiteSize::Full).cluster_comparisons() {
            assert!(comparison.ours.is_some() && comparison.others.len() == 1);
            let target = |field: &str| comparison.metrics.iter().find(|metric| metric.field == field)?.target;
            assert_eq!(target("deliveries_per_cpu_second"), Some(MetricTarget::RatioAtLeast(2.0)));
            assert_eq!(target("lost"), Some(MetricTarget::AtMost(0.0)));
        }
        assert!(Suite::new(Path::new("/nowhere"), SuiteSize::Quick).cluster_comparisons()[0].ours.is_none());
    }
}
