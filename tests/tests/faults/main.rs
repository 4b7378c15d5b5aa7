//! Fault injection under steady traffic in a size for every test run: 100 clients on three pods. `make faults` runs
//! the full size and also checks time limits.

#[cfg(test)]
mod guarantees {
    use std::time::Duration;

    use tests::faults::{FaultPlan, InjectedFault, run_fault};
    use tokio::sync::Mutex;

    /// Serializes the tests: each fault measures recovery times.
    static EXCLUSIVE: Mutex<()> = Mutex::const_new(());

    async fn check_guarantees(fault: InjectedFault) {
        let _exclusive = EXCLUSIVE.lock().await;
        let plan = FaultPlan { connections: 100, pace: Duration::from_secs(1), full: false };
        let report = run_fault(&plan, fault).await.unwrap_or_else(|error| panic!("{error:#}"));
        println!("{report}");
        assert_eq!(report.violations(), [""; 0], "{report}");
        assert!(report.messages.acknowledged > plan.connections, "too little traffic: {report}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_pod() {
        check_guarantees(InjectedFault::Kill).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_restart_and_pause() {
        check_guarantees(InjectedFault::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_network_partition() {
        check_guarantees(InjectedFault::Network).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_rolling_restart() {
        check_guarantees(InjectedFault::Rolling).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pod_that_hangs() {
        check_guarantees(InjectedFault::Hang).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lost_subscriptions() {
        check_guarantees(InjectedFault::SubscriptionLoss).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_read_only_redis() {
        check_guarantees(InjectedFault::ReadOnly).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_restarts_empty() {
        check_guarantees(InjectedFault::DataLoss).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pod_that_dies_while_redis_restarts_empty() {
        check_guarantees(InjectedFault::DataLossCrash).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn half_open_clients() {
        check_guarantees(InjectedFault::HalfOpen).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_planned_failover_by_sentinels() {
        check_guarantees(InjectedFault::SentinelFailover).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn planned_failovers_of_a_cluster() {
        check_guarantees(InjectedFault::ClusterFailover).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn slots_of_a_cluster_that_move() {
        check_guarantees(InjectedFault::SlotMigration).await;
    }
}
