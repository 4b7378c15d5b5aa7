//! Broadcasts to 3,000 clients on three servers that share a Redis: ours as pods, beside Socket.IO and its Redis adapter.
//!
//! The three servers and Redis together are the server whose CPU time counts. Receivers connect to the servers directly and in
//! turn, 1,000 to each; a balancer would cost both the same. Both send the same 100 bytes of body; what stands around it is
//! their own affair, and more with ours. The contest is between what ours does by default, a message that is acknowledged,
//! numbered and kept, and an emitted event, which is none of this. Ours without the log stands beside them.

use super::{OURS_AS_USER, Suite, SuiteSize, metric, words};
use crate::load::bench::child::BenchmarkServer;
use crate::load::bench::comparison::{Comparison, Contender, Metric, MetricTarget};
use crate::load::template::{MARK_BYTES, Template};

/// How many times the peer's deliveries ours has to make of a second of CPU time.
const RATIO: f64 = 2.0;

/// Bytes of the body.
const BODY: usize = 100;

/// What an admin sends to `everyone` reaches every connection, so receivers send nothing.
const DURABLE: &str = r#"{"action":"send","id":"{seq}","to":"everyone","body":"{seq}{pad}"}"#;
const EPHEMERAL: &str = r#"{"action":"send","id":"{seq}","to":"everyone","ephemeral":true,"body":"{seq}{pad}"}"#;

/// Engine.IO 4 and Socket.IO 5 in text: `40` enters the namespace and is answered, `2` is a heartbeat, `42` an event.
const ENTER: &str = r#"--heartbeat 2=3 --subscribe-frame 40 --subscribed-marker 40{"sid" --publishers-subscribe"#;
const EVENT: &str = r#"42["publish","{seq}{pad}"]"#;

impl Suite {
    /// From one, at a pace that all keep: what a delivery costs, and how late it is, under the same load.
    pub(super) fn pods_paced(&self) -> Comparison {
        let title = "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, one sender, 10 a second".to_owned();
        self.pods("pods-paced", title, "--in-flight 64 --rate 10")
    }

    /// As fast as each can, from many: an admin waits for nobody but himself.
    pub(super) fn pods_many(&self) -> Comparison {
        let title =
            "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, 16 senders with one under way each".to_owned();
        self.pods("pods-many", title, "--publishers 16 --in-flight 16")
    }

    /// As fast as each can, from one: ours takes the messages of a connection one after the other, each when the one
    /// before it is in the log.
    pub(super) fn pods_one(&self) -> Comparison {
        let title =
            "broadcast to 3,000 receivers on 3 pods, 100 bytes of body, one sender with 16 under way".to_owned();
        self.pods("pods-one", title, "--in-flight 16")
    }

    fn pods(&self, name: &'static str, title: String, gate: &str) -> Comparison {
        let window = match self.extent {
            SuiteSize::Quick => "--warm-up 1 --seconds 4",
            SuiteSize::Full => "--warm-up 2 --seconds 10",
        };
        Comparison {
            name,
            title,
            load: words(&format!("fanout --receivers 3000 {gate} {window}")),
            peer: self.socketio(),
            ours: self.pods_of_ours("ours", DURABLE),
            others: self.pods_of_ours("ours-without-log", EPHEMERAL).into_iter().collect(),
            metrics: metrics(),
        }
    }

    fn socketio(&self) -> Contender {
        let mut load = words("--url ws://{addr}/socket.io/?EIO=4&transport=websocket");
        load.extend(words(ENTER));
        load.extend(published(EVENT));
        Contender { server: self.launcher("socket.io", "socketio"), load }
    }

    fn pods_of_ours(&self, name: &'static str, frame: &str) -> Option<Contender> {
        let mut load = words(OURS_AS_USER);
        load.extend(words("--publish-token-file {work}/admin.tokens"));
        load.extend(published(frame));
        let entrant = Contender { server: self.launcher(name, "ours"), load };
        self.bin.join("twinway").exists().then_some(entrant)
    }

    fn launcher(&self, name: &'static str, kind: &str) -> BenchmarkServer {
        let packages = self.bin.join("../socketio").display().to_string();
        let arguments = ["--kind", kind, "--packages", &packages].map(str::to_owned).to_vec();
        BenchmarkServer { name, program: self.bin.join("bench_pods"), arguments }
    }
}

/// The frame, as long as makes its body [`BODY`] bytes.
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
    fn ours_has_to_deliver_twice_as_much_and_lose_nothing() {
        let bin = tempfile::tempdir().unwrap();
        std::fs::write(bin.path().join("twinway"), "").unwrap();
        for contest in Suite::new(bin.path(), SuiteSize::Full).cluster_comparisons() {
            assert!(contest.ours.is_some() && contest.others.len() == 1);
            let target = |field: &str| contest.metrics.iter().find(|metric| metric.field == field)?.target;
            assert_eq!(target("deliveries_per_cpu_second"), Some(MetricTarget::RatioAtLeast(2.0)));
            assert_eq!(target("lost"), Some(MetricTarget::AtMost(0.0)));
        }
        assert!(Suite::new(Path::new("/nowhere"), SuiteSize::Quick).cluster_comparisons()[0].ours.is_none());
    }
}
