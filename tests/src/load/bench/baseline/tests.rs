//! Every baseline server under its scenario, over real sockets.
//!
//! Each window is one second, the minimum of the plans; no test checks speed.

use clap::Parser;
use tokio::task::LocalSet;

use super::{BaselineKind, listen, run};
use crate::load::connect::{self, ConnectPlan};
use crate::load::echo::{self, EchoPlan};
use crate::load::fanout::{self, FanoutPlan};
use crate::load::idle::{self, IdlePlan};

#[derive(Parser)]
struct PlanArguments<P: clap::Args> {
    #[command(flatten)]
    plan: P,
}

/// Starts a baseline server on a free port in this process and parses the plan of `arguments`, with `{addr}` filled
/// in.
async fn start_baseline<P: clap::Args>(kind: BaselineKind, arguments: &str) -> (P, tokio_util::sync::DropGuard) {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = tokio_util::sync::CancellationToken::new();
    tokio_util::task::TaskTracker::new().spawn(run(kind, listener, stop.clone()));
    let arguments = arguments.replace("{addr}", &address).replace("{pid}", &std::process::id().to_string());
    let parsed = PlanArguments::<P>::parse_from(std::iter::once("test").chain(arguments.split_whitespace()));
    (parsed.plan, stop.drop_guard())
}

#[tokio::test]
async fn every_echo_server_answers_every_message() {
    for kind in [BaselineKind::WarpEcho, BaselineKind::WarpEchoForward, BaselineKind::TungsteniteEcho] {
        let arguments = "--url ws://{addr}/ --connections 3 --in-flight 4 --bytes 200 --seconds 1 --warm-up 0";
        let (plan, _guard) = start_baseline::<EchoPlan>(kind, arguments).await;
        let report = LocalSet::new().run_until(echo::run(&plan)).await.unwrap();
        assert!(report.replies > 12, "{kind:?}: {report:?}");
        assert_eq!((report.unexpected_frames, report.bytes), (0, 200), "{kind:?}");
        assert!(report.latency_us.p50 <= report.latency_us.p99, "{report:?}");
    }
}

#[tokio::test]
async fn an_unexpected_frame_is_not_a_reply() {
    let arguments = "--url ws://{addr}/ --connections 1 --reply-bytes 7 --seconds 1 --warm-up 0";
    let (plan, _guard) = start_baseline::<EchoPlan>(BaselineKind::TungsteniteEcho, arguments).await;
    let error = LocalSet::new().run_until(echo::run(&plan)).await.unwrap_err();
    assert!(error.to_string().contains("(1 other frames did)"), "{error:#}");
}

#[tokio::test]
async fn broadcasts_reach_all_receivers_and_are_counted() {
    let arguments = "--url ws://{addr}/sub --publish-url ws://{addr}/pub --receivers 20 --publishers 2 --in-flight 4 \
                     --seconds 1 --warm-up 0 --server-pid {pid}";
    let (plan, _guard) = start_baseline::<FanoutPlan>(BaselineKind::TungsteniteBroadcast, arguments).await;
    let report = LocalSet::new().run_until(fanout::run(&plan)).await.unwrap();
    assert_eq!((report.lost, report.repeated, report.receivers_lost), (0, 0, 0), "{report:?}");
    assert!(report.deliveries > 20 && report.published * 20 >= report.deliveries, "{report:?}");
    assert!(report.deliveries_per_cpu_second.is_some());
}

#[tokio::test]
async fn idle_connections_stay_open_and_are_measured() {
    let arguments = "--url ws://{addr}/ --connections 40 --rate 20000 --settle 3 --server-pid {pid}";
    let (plan, _guard) = start_baseline::<IdlePlan>(BaselineKind::TungsteniteEcho, arguments).await;
    let report = LocalSet::new().run_until(idle::run(&plan)).await.unwrap();
    assert_eq!(report.connections, 40);
    assert!(report.resident_after > 0 && report.opened_per_second > 0.0, "{report:?}");
}

#[tokio::test]
async fn connections_open_and_close() {
    for kind in [BaselineKind::WarpAccept, BaselineKind::TungsteniteEcho] {
        let arguments = "--url ws://{addr}/ --concurrency 4 --seconds 1 --warm-up 0";
        let (plan, _guard) = start_baseline::<ConnectPlan>(kind, arguments).await;
        let report = LocalSet::new().run_until(connect::run(&plan)).await.unwrap();
        assert!(report.connects > 4, "{kind:?}: {report:?}");
        assert_eq!((report.failures, report.unclean_closes), (0, 0), "{kind:?}");
    }
}

#[tokio::test]
async fn a_closed_port_ends_the_run() {
    let (plan, guard) =
        start_baseline::<ConnectPlan>(BaselineKind::WarpAccept, "--url ws://127.0.0.1:1/ --seconds 60").await;
    drop(guard);
    let error = LocalSet::new().run_until(connect::run(&plan)).await.unwrap_err();
    assert!(error.to_string().contains("in a row"), "{error:#}");
}
