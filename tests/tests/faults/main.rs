//! Faults under steady traffic, at a size for every day: 100 clients on three pods. `make faults` is the full size, and judges
//! how long clients were away, too.

#[cfg(test)]
mod promises {
    use std::time::Duration;

    use tests::faults::{FaultPlan, InjectedFault, run_fault};
    use tokio::sync::Mutex;

    /// One fault at a time: each measures how long something takes.
    static TURN: Mutex<()> = Mutex::const_new(());

    async fn keeps_its_promises(fault: InjectedFault) {
        let _turn = TURN.lock().await;
        let plan = FaultPlan { connections: 100, pace: Duration::from_secs(1), full: false };
        let outcome = run_fault(&plan, fault).await.unwrap_or_else(|error| panic!("{error:#}"));
        println!("{outcome}");
        assert_eq!(outcome.violations(), [""; 0], "{outcome}");
        assert!(outcome.messages.acknowledged > plan.connections, "there was hardly any traffic: {outcome}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_pod() {
        keeps_its_promises(InjectedFault::Kill).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_is_restarted_and_paused() {
        keeps_its_promises(InjectedFault::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_network_that_is_cut() {
        keeps_its_promises(InjectedFault::Network).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_rolling_restart() {
        keeps_its_promises(InjectedFault::Rolling).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_pod_that_hangs() {
        keeps_its_promises(InjectedFault::Hang).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn subscriptions_that_are_lost() {
        keeps_its_promises(InjectedFault::SubscriptionLoss).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_nobody_may_write_to() {
        keeps_its_promises(InjectedFault::ReadOnly).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_redis_that_comes_back_empty() {
        keeps_its_promises(InjectedFault::DataLoss).await;
    }
}
