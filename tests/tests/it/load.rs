//! The pod broadcast of `make bench-pods` in a small size: our pods only, without targets.

use std::path::Path;

use clap::Parser;
use tests::load::bench::pods::{BenchmarkCluster, ClusterKind};
use tests::load::bench::tokens;
use tests::load::fanout::{self, FanoutPlan};
use tokio::task::LocalSet;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    plan: FanoutPlan,
}

#[tokio::test]
async fn a_paced_broadcast_reaches_every_client_on_every_pod_once() {
    let work = tempfile::tempdir().unwrap();
    tokens::write(work.path()).unwrap();
    let pods = BenchmarkCluster::start(ClusterKind::Ours, Path::new("/nowhere")).await.unwrap();
    let (url, file) =
        (format!("ws://{}/prod", pods.addresses()), |name: &str| work.path().join(name).display().to_string());
    let (users, admin) = (file("user.tokens"), file("admin.tokens"));
    let frame = r#"{"action":"send","id":"{seq}","to":"everyone","body":"{seq}{pad}"}"#;
    let arguments =
        ["load", "--url", &url, "--token-file", &users, "--publish-token-file", &admin, "--publish-frame", frame];
    let small = ["--receivers", "30", "--rate", "50", "--warm-up", "0", "--seconds", "1"];
    let plan = Cli::parse_from(arguments.iter().chain(&small)).plan;
    let report = LocalSet::new().run_until(fanout::run(&plan)).await.unwrap();
    assert_eq!((report.lost, report.repeated, report.receivers_lost), (0, 0, 0), "{report:?}");
    assert!(report.deliveries >= 30 && report.published <= 60, "{report:?}");
    // Other frames: the acknowledgement of each broadcast, and the publisher's own copy of it.
    assert!(report.other_frames <= 2 * report.published, "{report:?}");
}

#[tokio::test]
async fn without_socketio_the_error_names_the_installation_script() {
    let error = BenchmarkCluster::start(ClusterKind::Socketio, Path::new("/nowhere")).await.err().unwrap();
    assert!(format!("{error:#}").contains("tests/scripts/socketio.sh"), "{error:#}");
}
